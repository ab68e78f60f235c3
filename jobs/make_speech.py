"""Make a small set of spoken words with the speech synthesizer espeak-ng (Debian: apt-get install espeak-ng).

    python jobs/make_speech.py --out speech

Use it as data.name=audio:speech. Ten words of Speech Commands, each by several speakers at several speeds and pitches:
DIR/WORD/SPEAKER_nohash_N.wav, as Speech Commands names its files, so that speakers stay on one side of every split. A
speaker is a language variety with a voice. The last line on stdout is a JSON object: out, words, speakers, recordings.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from itertools import islice, product
from pathlib import Path

from raysplit.cli.command import run_command
from raysplit.errors import ConfigError

WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
VARIETIES = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-029", "en-gb-x-gbclan")
VOICES = ("m1", "f1", "m3", "f2", "m5", "f4", "m7", "f5")
SPEEDS = (130, 160, 190, 220)
"""Words per minute."""
PITCHES = (35, 65)
"""0 to 99."""


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Make a small set of spoken words with espeak-ng.")
    parser.add_argument("--out", required=True, metavar="DIR")
    most = len(VARIETIES) * len(VOICES)
    parser.add_argument("--speakers", type=int, default=24, help=f"at most {most}, default 24")
    args = parser.parse_args(argv)
    if not 1 <= args.speakers <= most:
        raise ConfigError(f"--speakers is 1 to {most}, got {args.speakers}")
    if shutil.which("espeak-ng") is None:
        raise ConfigError("espeak-ng is not installed; on Debian and Ubuntu: apt-get install espeak-ng")
    speakers = [f"{variety}+{voice}" for voice, variety in islice(product(VOICES, VARIETIES), args.speakers)]
    count = 0
    for word, speaker in product(WORDS, speakers):
        folder = Path(args.out, word)
        folder.mkdir(parents=True, exist_ok=True)
        for number, (speed, pitch) in enumerate(product(SPEEDS, PITCHES)):
            speak(word, speaker, speed, pitch, folder / f"{speaker.replace('+', '-')}_nohash_{number}.wav")
            count += 1
    print(json.dumps({"out": args.out, "words": WORDS, "speakers": len(speakers), "recordings": count}))


def speak(word: str, speaker: str, speed: int, pitch: int, file: Path) -> None:
    """Write a word to a WAV file; ConfigError where espeak-ng fails."""
    command = ["espeak-ng", "-v", speaker, "-s", str(speed), "-p", str(pitch), "-w", str(file), word]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or not file.is_file():
        reason = " ".join(done.stderr.split()) or f"status {done.returncode}"
        raise ConfigError(f"espeak-ng did not speak '{word}' as {speaker}: {reason}")


if __name__ == "__main__":
    sys.exit(run_command(main))
