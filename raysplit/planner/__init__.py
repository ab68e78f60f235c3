"""What a run or a cut will cost, before anything is trained."""
