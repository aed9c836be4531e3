"""Data sets as users of the published package know them: `get_user_ids()`, `get_user_data(id)`.

Users, pairs and splits are those of the workflow's `prepare` stage. (A module of this package: `import datasets` is
still the Hugging Face library.)
"""

from __future__ import annotations

from personalrm.app.library.released import ChatbotArenaDataset, LocalDataset, PersonalDataset, PrismDataset, UserParts

__all__ = ["ChatbotArenaDataset", "LocalDataset", "PersonalDataset", "PrismDataset", "UserParts"]
