"""Linear and logarithmic number formats: value ↔ code, exact."""

from logaccel.formats.number import AnyFormat, Format, LinearFormat, LinearWord, LogFormat, LogWord, Word

__all__ = ["AnyFormat", "Format", "LinearFormat", "LinearWord", "LogFormat", "LogWord", "Word"]
