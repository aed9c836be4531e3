"""Export of a run's pairs with personas: the paper's augmentation of a preference set."""

from __future__ import annotations

from pathlib import Path

import yaml

from personalrm.core.errors import DataError
from personalrm.core.files import atomic_open, atomic_write_text
from personalrm.core.persona_pairs import RELEASED, SIDES, PersonaPair
from personalrm.core.records import read_all
from personalrm.studies.tailoring.stages.personas import personas_of


def export_personas(run: Path, dataset: str, out: Path, model: str, licence: str = "") -> dict[str, int]:
    """Write the pairs of a data set of the run in folder `run` to `out`, with the personas that `model` wrote (or
    `released`, for those of the data); returns the rows of each split.

    The folder can be loaded with `datasets.load_dataset`, and is a data set of this study: one Parquet file per split
    with the columns of the released sets, and the ids of pairs and users. A side without a persona has an empty one.

    Raises DataError where the run has no such pairs or personas (yet).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    shards = sorted((run / "data" / dataset / "shards").glob("*.jsonl"))
    written = [] if model == RELEASED else [run / "personas" / dataset / model / path.name for path in shards]
    if not shards or not all(path.is_file() for path in written):
        raise DataError(f"{run}: no pairs of {dataset} with personas by {model}; run the workflow first")
    pairs = sorted(read_all(shards, PersonaPair), key=lambda pair: pair.pair_id)
    personas = personas_of(pairs, written)
    rows: dict[str, list[dict[str, str | None]]] = {}
    for pair in pairs:
        mine = personas.get(pair.pair_id, {})
        rows.setdefault(pair.split, []).append(
            {
                "pair_id": pair.pair_id.removeprefix(f"{pair.split}-"),
                "user_id": pair.user_id,
                **{"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected},
                **{f"{side}_persona_gold": mine.get(side, "") for side in SIDES},
            }
        )
    for split, some in rows.items():
        schema = pa.schema([(name, pa.string()) for name in some[0]])
        with atomic_open(out / "data" / f"{split}-00000-of-00001.parquet") as stream:
            pq.write_table(pa.Table.from_pylist(some, schema=schema), stream)
    files = [{"split": split, "path": f"data/{split}-*"} for split in rows]
    header = {"pretty_name": dataset, "configs": [{"config_name": "default", "data_files": files}]}
    header |= {"license": "other", "license_name": licence} if licence else {}
    said = yaml.safe_dump(header, sort_keys=False, allow_unicode=True)
    atomic_write_text(
        out / "README.md",
        f"---\n{said}---\n\n# {dataset}\n\nPreference pairs with personas by `{model}`: `chosen_persona_gold` is of "
        "somebody who would prefer the chosen response, `rejected_persona_gold` of somebody who would prefer the other "
        "one. Personas explain one pair each, and may be wrong.\n",
    )
    return {split: len(some) for split, some in rows.items()}
