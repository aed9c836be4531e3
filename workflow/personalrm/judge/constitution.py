"""The constitution: a few fixed rules that stand above whatever a prompt shows of a user.

Facts, safety and law are no matters of taste, and what the conversation asks for comes before a general taste. The
rules are ours; the paper has none. They end the instruction, after persona and labelled pairs, so that no text about
the user comes later in the same message.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from personalrm.core.errors import ConfigError
from personalrm.core.files import stable_hash
from personalrm.judge.prompting import load_prompt

NAME = "constitution"
OFF, DEFAULT, AUTO = "off", "default", "auto"
"""What the config may say instead of a path (`Config.constitution`)."""


@dataclass(frozen=True)
class Constitution:
    """The rules as they are shown, and their label in the results: version and hash, or the hash of one's own rules."""

    text: str
    label: str

    def below(self, instruction: str) -> str:
        """The instruction of a prompt, with the rules at its end."""
        return f"{instruction}\n\n{self.text}"


def read_constitution(named: str) -> Constitution | None:
    """The rules: ours for "default", none for "off", else those of a text file.

    Raises ConfigError for a file that is missing, empty or no text.
    """
    if named == OFF:
        return None
    if named == DEFAULT:
        prompt = load_prompt(NAME)
        return Constitution(prompt.render("rules"), prompt.label)
    try:
        text = Path(named).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "is no text in UTF-8"
        raise ConfigError(f"{NAME}: {named}: {why}; give {OFF}, {DEFAULT}, or the path of a text file") from None
    if not text:
        raise ConfigError(f"{NAME}: {named}: holds no rule; write some, or give {OFF}")
    return Constitution(text, f"own-{stable_hash(text)[:12]}")
