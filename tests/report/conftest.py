from tests.run_records import record, three

__all__ = ["record", "three"]
