"""Features of texts: what else is in a batch does not matter, what is cut is known, and the right tokens are read."""

from __future__ import annotations

import json
import random
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra train: pip install 'personalrm[train]'")

import numpy as np
from support.models import pair
from support.tiny_models import tiny_bert, tiny_llama, tiny_roberta, tiny_t5
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from personalrm.core.errors import ConfigError, DataError
from personalrm.core.files import sha256_file
from personalrm.core.records import Turn
from personalrm.llm.local.catalogue import get_entry
from personalrm.llm.local.fetch import ensure_model
from personalrm.train.bases import _unpacked, open_base, separate_pad
from personalrm.train.encoders import Encoder, EncoderSettings, open_encoder
from personalrm.train.features import Pairs, encode_pairs, join, load_pairs, save_pairs

Text = tuple[tuple[Turn, ...], str]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> EncoderSettings:
    return EncoderSettings(base=tiny_llama(tmp_path_factory.mktemp("llama")), dtype="float32")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> EncoderSettings:
    return EncoderSettings(base=tiny_bert(tmp_path_factory.mktemp("bert")), dtype="float32")


def words(rng: random.Random, most: int) -> str:
    return " ".join(f"w{rng.randrange(60)}" for _ in range(rng.randint(1, most)))


def texts(count: int, seed: int = 0) -> list[Text]:
    rng = random.Random(seed)
    return [((Turn(role="user", content=words(rng, 12)),), words(rng, 20)) for _ in range(count)]


def features(settings: EncoderSettings, given: list[Text], **changes: Any) -> np.ndarray:  # noqa: ANN401
    with open_encoder(replace(settings, **changes)) as encoder:
        return encoder.encode(given).features


def by_hand(settings: EncoderSettings, ids: list[int]) -> np.ndarray:
    """Hidden states of one text without padding, (tokens, dim)."""
    model = AutoModel.from_pretrained(settings.base, dtype=torch.float32)
    with torch.inference_mode():
        return model(torch.tensor([ids])).last_hidden_state[0].numpy()


@pytest.mark.parametrize("pooling", ["mean", "mean_answer", "last"])
@pytest.mark.parametrize("which", ["llama", "bert"])
def test_batches_change_no_feature(which: str, pooling: str, request: pytest.FixtureRequest) -> None:
    settings = replace(request.getfixturevalue(which), pooling=pooling)
    given = texts(24)
    together = features(settings, given, batch_tokens=10_000)
    assert together.shape == (24, 16)
    assert together.dtype == np.float32
    assert np.abs(features(settings, given, batch_tokens=1) - together).max() < 1e-4
    # One text alone, and all in another order with one of them twice: the same bits.
    order = [*range(23, -1, -1), 3]
    batches = features(settings, given, batch_tokens=100)
    assert (features(settings, [given[n] for n in order], batch_tokens=100) == batches[order]).all()
    assert np.abs(batches - together).max() < 1e-4


def test_bfloat16_is_near_float32(llama: EncoderSettings) -> None:
    given = texts(8)
    exact, coarse = features(llama, given), features(llama, given, dtype="bfloat16")
    cosines = (exact * coarse).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(coarse, axis=1)
    assert cosines.min() > 0.99
    assert coarse.dtype == np.float32


def test_the_tokens_that_are_read(llama: EncoderSettings) -> None:
    tokenizer = AutoTokenizer.from_pretrained(llama.base)
    # The answer ends in the end-of-turn token, which is also the pad token of this tokenizer.
    given = [((Turn(role="user", content="w1 w2"),), "w3 w4 <|im_end|>"), *texts(3)]
    chat = "<|im_start|> user w1 w2 <|im_end|> <|im_start|> assistant w3 w4 <|im_end|> <|im_end|>"
    states = by_hand(llama, tokenizer(chat)["input_ids"])
    assert len(states) == 11
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    for pooling, wanted in (("last", states[-1]), ("mean", states.mean(0)), ("mean_answer", states[7:].mean(0))):
        assert np.abs(features(llama, given, pooling=pooling)[0] - wanted).max() < 1e-4
    alone = by_hand(llama, tokenizer("w3 w4 <|im_end|>")["input_ids"])
    assert np.abs(features(llama, given, text="answer")[0] - alone.mean(0)).max() < 1e-4


def test_a_model_without_a_template_reads_turns_and_its_own_special_tokens(bert: EncoderSettings) -> None:
    tokenizer = AutoTokenizer.from_pretrained(bert.base)
    given = [((Turn(role="user", content="w1"), Turn(role="assistant", content="w2")), "w3 w4")]
    states = by_hand(bert, tokenizer("w1 w2 w3 w4")["input_ids"])
    assert len(states) == 6
    assert np.abs(features(bert, given)[0] - states.mean(0)).max() < 1e-4
    assert np.abs(features(bert, given, pooling="mean_answer")[0] - states[3:].mean(0)).max() < 1e-4


def tokens(encoder: Encoder, context: str, answer: str) -> Any:  # noqa: ANN401
    return encoder.tokenise((Turn(role="user", content=context),), answer)


@pytest.mark.parametrize("which", ["llama", "bert"])
def test_truncation_keeps_the_answer_whole_and_is_counted(which: str, request: pytest.FixtureRequest) -> None:
    settings = replace(request.getfixturevalue(which), max_tokens=14)
    long = " ".join(f"w{n}" for n in range(30))
    with open_encoder(settings) as encoder:
        names = AutoTokenizer.from_pretrained(settings.base).convert_ids_to_tokens
        cut = tokens(encoder, long, "w50 w51 w52")
        read = names(list(cut.ids))
        assert len(read) == 14
        kept = [name for name in read if name not in ("[CLS]", "[SEP]", "<|im_start|>", "<|im_end|>", "assistant")]
        # The newest words of the conversation, then the answer.
        assert kept == [*(f"w{n}" for n in range(30 - len(kept) + 3, 30)), "w50", "w51", "w52"]
        assert (cut.context_cut, cut.answer_cut) == (True, False)
        whole = tokens(encoder, "w1", long)
        assert len(whole.ids) == 14
        assert whole.answer_cut
        found = encoder.encode(
            [((Turn(role="user", content=c),), a) for c, a in ((long, "w1"), ("w1", long), ("w1", "w2"))]
        )
        # The cut answer leaves its conversation no token.
        assert (found.contexts_cut, found.answers_cut) == (2, 1)
        assert found.tokens <= 3 * 14


def test_odd_texts(llama: EncoderSettings, bert: EncoderSettings) -> None:
    given: list[Text] = [((), "w1"), ((Turn(role="user", content=""),), ""), ((), "")]
    for settings in (llama, bert):
        for text in ("chat", "answer"):
            found = features(settings, given, text=text, pooling="mean_answer")
            assert np.isfinite(found).all()
        assert features(settings, []).shape == (0, 16)


def test_what_cannot_be_encoded_is_refused(llama: EncoderSettings, tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match=r"max_tokens 65 exceeds its 64"),
        open_encoder(replace(llama, max_tokens=65)),
    ):
        pass
    strict = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    other = tiny_llama(tmp_path / "strict", strict)
    context = (Turn(role="system", content="w1"), Turn(role="user", content="w2"))
    with (
        open_encoder(EncoderSettings(base=other)) as encoder,
        pytest.raises(ConfigError, match=r"refuses a conversation with the roles system, user: no system role"),
    ):
        encoder.encode([(context, "w1")])
    for name, why in (("nowhere", "no folder, no embedded model"), (str(tmp_path), "no config.json")):
        with pytest.raises(ConfigError, match=why), open_base(name):
            pass
    with pytest.raises(ConfigError, match="has no revision"), open_base("smollm2-135m", "abc"):
        pass


def test_a_text_has_no_more_tokens_than_the_tokenizer_says(tmp_path: Path) -> None:
    """RoBERTa has two positions more than it takes tokens."""
    settings = EncoderSettings(base=tiny_roberta(tmp_path), dtype="float32")
    with open_encoder(settings) as encoder:
        assert len(tokens(encoder, "w1", "w2 " * 200).ids) == 64
        assert np.isfinite(encoder.encode([((), "w2 " * 200)]).features).all()


def test_bases_and_settings_that_no_text_fits_are_refused(
    llama: EncoderSettings, bert: EncoderSettings, tmp_path: Path
) -> None:
    damaged = Path(tiny_llama(tmp_path / "damaged"))
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    for settings, why in (
        (replace(bert, max_tokens=2), "max_tokens 2 has no room beside 2 special tokens"),
        (replace(llama, base=tiny_t5(tmp_path / "t5")), "has an encoder and a decoder"),
        (replace(llama, device="nowhere"), "device 'nowhere' cannot be used"),
        (replace(llama, base=str(damaged)), "transformers cannot load it"),
    ):
        with pytest.raises(ConfigError, match=why), open_encoder(settings):
            pass


def test_a_folder_is_known_by_its_content(llama: EncoderSettings, tmp_path: Path) -> None:
    with open_base(tiny_llama(tmp_path / "copy")) as copy, open_base(llama.base) as first:
        assert copy.identity == first.identity
    with (tmp_path / "copy" / "model.safetensors").open("r+b") as stream:
        stream.seek(-1, 2)
        last = stream.read(1)
        stream.seek(-1, 2)
        stream.write(bytes([last[0] ^ 1]))
    with open_base(str(tmp_path / "copy")) as changed:
        assert changed.identity != first.identity


def test_the_pad_token_is_not_the_end_token(llama: EncoderSettings) -> None:
    tokenizer = AutoTokenizer.from_pretrained(llama.base)
    assert tokenizer.pad_token == tokenizer.eos_token
    assert separate_pad(tokenizer) == 0 != tokenizer.eos_token_id
    assert tokenizer.pad_token == "<|endoftext|>"
    # One that is apart stays.
    tokenizer.pad_token = "w1"
    assert separate_pad(tokenizer) == tokenizer.convert_tokens_to_ids("w1")


def test_an_encoder_in_a_zip_file_is_the_folder_that_has_the_model(tmp_path: Path) -> None:
    folder = Path(tiny_bert(tmp_path / "bert"))
    with zipfile.ZipFile(tmp_path / "model.whl", "w") as archive:
        archive.writestr("pkg/model/1_Pooling/config.json", "{}")
        archive.writestr("pkg/__init__.py", "raise SystemExit")
        for file in folder.iterdir():
            archive.write(file, f"pkg/model/{file.name}")
    unpacked = _unpacked(tmp_path / "model.whl", tmp_path / "scratch")
    assert sorted(p.name for p in unpacked.iterdir()) == sorted(p.name for p in folder.iterdir())
    assert (unpacked / "config.json").read_bytes() == (folder / "config.json").read_bytes()


def test_pairs_and_their_file(llama: EncoderSettings, tmp_path: Path) -> None:
    votes = [pair(f"p{n}", f"w{n}", f"w{n + 1} w3") for n in range(4)]
    with open_encoder(llama) as encoder:
        made, counts = encode_pairs(encoder, votes)
        save_pairs(tmp_path / "a.safetensors", made, encoder.card)
        assert encoder.card["base"].startswith("folder ")
        one = encoder.encode([(votes[2].context, votes[2].rejected)]).features[0]
    assert counts["texts"] == 8
    assert counts["contexts_cut"] == counts["answers_cut"] == 0
    read, card = load_pairs(tmp_path / "a.safetensors")
    assert read.ids == ("p0", "p1", "p2", "p3")
    assert (read.chosen == made.chosen).all()
    assert np.abs(read.select(["p2"]).rejected[0] - one).max() < 1e-4
    assert card["dim"] == 16
    both = join([read.select(["p3"]), read.select(["p0", "p1"])])
    assert both.ids == ("p3", "p0", "p1")
    assert (both.exchanged().difference == -both.difference).all()
    with pytest.raises(DataError, match=r"no pair p9 \(1 of 2 pairs are missing\)"):
        read.select(["p0", "p9"])
    with pytest.raises(DataError, match="p3 is given twice"):
        join([both, both.select(["p3"])])
    with pytest.raises(DataError, match="not finite"):
        Pairs(("a",), np.full((1, 2), np.nan, np.float32), np.zeros((1, 2), np.float32))
    (tmp_path / "b.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:-9])
    with pytest.raises(DataError, match=r"b\.safetensors: not a file of features"):
        load_pairs(tmp_path / "b.safetensors")


@pytest.mark.embedded
def test_the_embedded_model_as_a_folder() -> None:
    with open_base("smollm2-135m") as base:
        model: Any = AutoModelForCausalLM.from_pretrained(base.path)
        tokenizer = AutoTokenizer.from_pretrained(base.path)
        config = json.loads(Path(base.path, "config.json").read_text(encoding="utf-8"))
    assert base.context_length == 8192
    assert get_entry("smollm2-135m").sha256 in base.identity
    assert (model.dtype, model.num_parameters()) == (torch.float32, 134_515_008)
    assert "quantization_config" not in config
    assert config["tie_word_embeddings"]
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, config["pad_token_id"]) == (0, 2, 0)


@pytest.mark.full
@pytest.mark.embedded
def test_the_weights_of_the_folder_are_those_of_the_file_as_another_library_reads_it() -> None:
    gguf = pytest.importorskip("gguf")
    with open_base("smollm2-135m") as base:
        model: Any = AutoModelForCausalLM.from_pretrained(base.path)
    file = ensure_model(get_entry("smollm2-135m"))
    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors}
    for name, weight in (
        ("token_embd.weight", model.model.embed_tokens.weight),
        ("blk.7.ffn_up.weight", model.model.layers[7].mlp.up_proj.weight),
    ):
        found = gguf.quants.dequantize(stored[name].data, stored[name].tensor_type)
        assert (weight.detach().numpy() == found).all()


@pytest.mark.full
@pytest.mark.embedded
def test_minilm_is_the_publishers_and_is_read_from_its_wheel() -> None:
    settings = EncoderSettings(base="all-minilm-l6-v2", dtype="float32")
    with open_base(settings.base) as base:
        # The publisher's hash, of the model that sentence-transformers has on the hub.
        known = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
        assert sha256_file(Path(base.path, "model.safetensors")) == known
    question = (Turn(role="user", content="How do I keep my dog from pulling?"),)
    answers = ["Stop whenever the leash is tight.", "Halt each time the lead tightens.", "Whisk the eggs with sugar."]
    with open_encoder(replace(settings, text="answer")) as encoder:
        found = encoder.encode([(question, answer) for answer in answers]).features
        long = encoder.tokenise(question, "word " * 400)
    assert found.shape == (3, 384)
    unit = found / np.linalg.norm(found, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > 0.5
    assert unit[0] @ unit[2] < 0.2
    assert (len(long.ids), long.answer_cut) == (256, True)
