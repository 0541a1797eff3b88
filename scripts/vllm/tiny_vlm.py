"""Write a tiny, random-weight Qwen2.5-VL checkpoint that real servers can load.

    python tiny_vlm.py OUT_DIR [--seed 0] [--max-image-tokens 256] [--plain]

Needs only numpy, safetensors and tokenizers (no torch, no hub, no network).
Files use the layout of the public Qwen2.5-VL checkpoints (flat config.json,
`visual.*` / `model.*` / `lm_head` tensor names), so vLLM, transformers and
other servers read it with their stock Qwen2.5-VL code.

The weights are random, but one residual channel (index 0) is held constant
through the whole network.  After the final RMSNorm that channel is a positive
number, so column 0 of lm_head works as a per-token bias.  The bias
  * forbids special tokens other than <|im_end|>, and non-ASCII bytes,
  * makes <|im_end|>, closing quotes, brackets and commas likely,
so free text ends after some tens of tokens and JSON-schema-constrained output
closes its strings, numbers and arrays.  --plain leaves that bias out (a fully
random model, which usually runs to max_tokens).
"""

# ruff: noqa: SIM905 - long lists of words are read more easily as text

from __future__ import annotations

import argparse
import json
import random
import zlib
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

# Same pre-tokenizer and special tokens as the Qwen2 / Qwen2.5-VL tokenizer.
PRETOKENIZE = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIALS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
]

CHAT_TEMPLATE = """\
{%- if messages[0].role != 'system' -%}
<|im_start|>system
You are a helpful assistant.<|im_end|>
{% endif -%}
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string -%}
{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' or part.type == 'image_url' or 'image' in part or 'image_url' in part -%}
<|vision_start|><|image_pad|><|vision_end|>
{%- elif part.type == 'video' or 'video' in part -%}
<|vision_start|><|video_pad|><|vision_end|>
{%- elif 'text' in part -%}
{{ part.text }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}
"""

THINGS = """person man woman child boy girl dog cat horse sheep cow bird elephant bear zebra giraffe bicycle car
motorcycle airplane bus train truck boat traffic-light hydrant stop-sign parking-meter bench backpack umbrella
handbag tie suitcase frisbee skis snowboard kite baseball bat glove skateboard surfboard racket bottle glass cup
fork knife spoon bowl banana apple sandwich orange broccoli carrot pizza donut cake chair couch plant bed table
toilet television laptop mouse remote keyboard phone microwave oven toaster sink refrigerator book clock vase
scissors teddy toothbrush window door wall roof tree flower grass mountain river lake beach cloud sky sun moon
road bridge building tower fence lamp mirror painting curtain pillow blanket basket box bag hat shoe shirt jacket
dress trousers helmet wheel engine wing ladder rope flag statue""".split()
ADJS = """red green blue yellow black white brown grey orange purple pink small large tall short old young wooden
metal plastic striped spotted round square open closed empty full bright dark wet dry shiny dusty broken parked
standing sitting running sleeping flying floating""".split()
RELS = """on under beside behind above below near inside outside between across along around through against over
holding wearing riding eating carrying watching facing touching covering leaving entering""".split()
INSTR = """Describe the image in one sentence. Return only JSON. Detect every instance of the category and give
its bounding box as integers. Rewrite the caption and list the referring expressions with their noun chunks. Answer
yes or no. Is the expression correct for the marked region? You are a careful annotator. Use the given schema. Do
not add any other text. The coordinates are normalized to a range of zero to one thousand. Which label fits best?
There is no such object. The answer is true, false or null. Please check each box again and correct mistakes."""
KEYS = """cleaned_caption expressions text noun_chunk boxes box bbox bbox_2d label labels score category categories
caption answer reason point points masks objects image id width height attributes relations confidence valid""".split()


def corpus(seed: int):
    """A few thousand synthetic lines: captions, instructions and JSON."""
    r = random.Random(seed)

    def np_() -> str:
        return f"{r.choice(['a', 'the', 'one', 'two', 'another'])} {r.choice(ADJS)} {r.choice(THINGS)}"

    for _ in range(4000):
        a, b = np_(), np_()
        place = r.choice(["left", "right", "middle", "background", "foreground"])
        cap = f"{a.capitalize()} {r.choice(RELS)} {b} in the {place}."
        box = [r.randrange(1000) for _ in range(4)]
        yield cap
        yield f"{r.choice(INSTR.split('. '))}. {r.choice(KEYS)}: {cap}"
        yield json.dumps({"cleaned_caption": cap, "expressions": [{"text": a, "noun_chunk": b}], r.choice(KEYS): box})
        yield json.dumps({r.choice(KEYS): a, "boxes": [box, box]}, separators=(",", ":"))


def build_tokenizer(vocab_size: int, seed: int) -> Tokenizer:
    tok = Tokenizer(models.BPE())
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[],
        show_progress=False,
    )
    tok.train_from_iterator(corpus(seed), trainer)
    tok.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIALS])
    return tok


def token_bias(tok: Tokenizer, vocab: int) -> np.ndarray:
    """Additive logit for each token id (see the module docstring)."""
    bias = np.zeros(vocab, np.float32)
    for i in range(vocab):
        if tok.id_to_token(i) in SPECIALS:
            bias[i] = 3.5 if tok.id_to_token(i) == "<|im_end|>" else -40.0
            continue
        s = tok.decode([i])
        if not s.isascii() or not s.replace("\n", " ").isprintable():
            bias[i] = -40.0
        elif not s.strip():
            bias[i] = -6.0
        elif s[0] == '"':
            bias[i] = 3.0
        elif s[0] in "]}":
            bias[i] = 2.5
        elif s[0] in ",":
            bias[i] = 1.5
    return bias


def build_weights(cfg: dict, bias, seed: int) -> dict[str, np.ndarray]:
    v, h, inter, vocab = cfg["vision_config"], cfg["hidden_size"], cfg["intermediate_size"], cfg["vocab_size"]
    kv = h // cfg["num_attention_heads"] * cfg["num_key_value_heads"]
    vh, vi, merge = v["hidden_size"], v["intermediate_size"], v["spatial_merge_size"] ** 2
    w: dict[str, np.ndarray] = {}

    def rnd(name, *shape, gain=1.0):
        # one generator for each tensor: adding a layer does not change the others
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 1
        w[name] = (rng.standard_normal(shape) * gain / np.sqrt(fan_in)).astype(np.float32)

    def ones(name, n):
        w[name] = np.ones(n, np.float32)

    def linear(name, out, inp, with_bias=True, gain=1.0):
        rnd(f"{name}.weight", out, inp, gain=gain)
        if with_bias:
            rnd(f"{name}.bias", out, gain=0.1)

    ps = v["patch_size"]
    rnd("visual.patch_embed.proj.weight", vh, v["in_channels"], v["temporal_patch_size"], ps, ps, gain=3.0)
    for i in range(v["depth"]):
        b = f"visual.blocks.{i}"
        ones(f"{b}.norm1.weight", vh), ones(f"{b}.norm2.weight", vh)
        linear(f"{b}.attn.qkv", 3 * vh, vh), linear(f"{b}.attn.proj", vh, vh)
        linear(f"{b}.mlp.gate_proj", vi, vh), linear(f"{b}.mlp.up_proj", vi, vh), linear(f"{b}.mlp.down_proj", vh, vi)
    ones("visual.merger.ln_q.weight", vh)
    linear("visual.merger.mlp.0", vh * merge, vh * merge)
    linear("visual.merger.mlp.2", h, vh * merge, gain=1.5)

    rnd("model.embed_tokens.weight", vocab, h, gain=np.sqrt(h))  # unit variance
    for i in range(cfg["num_hidden_layers"]):
        b = f"model.layers.{i}"
        ones(f"{b}.input_layernorm.weight", h), ones(f"{b}.post_attention_layernorm.weight", h)
        linear(f"{b}.self_attn.q_proj", h, h, gain=2.0), linear(f"{b}.self_attn.k_proj", kv, h, gain=2.0)
        linear(f"{b}.self_attn.v_proj", kv, h, gain=2.0)
        linear(f"{b}.self_attn.o_proj", h, h, False, gain=2.0)
        linear(f"{b}.mlp.gate_proj", inter, h, False, gain=2.0), linear(f"{b}.mlp.up_proj", inter, h, False, gain=2.0)
        linear(f"{b}.mlp.down_proj", h, inter, False, gain=2.0)
    ones("model.norm.weight", h)
    rnd("lm_head.weight", vocab, h, gain=2.0)

    if bias is not None:  # channel 0: constant along the residual stream, read by lm_head only
        const = float(np.sqrt(h))
        w["model.embed_tokens.weight"][:, 0] = const
        w["visual.merger.mlp.2.weight"][0], w["visual.merger.mlp.2.bias"][0] = 0.0, const
        for i in range(cfg["num_hidden_layers"]):
            b = f"model.layers.{i}"
            w[f"{b}.self_attn.o_proj.weight"][0] = w[f"{b}.mlp.down_proj.weight"][0] = 0.0
            w[f"{b}.input_layernorm.weight"][0] = w[f"{b}.post_attention_layernorm.weight"][0] = 0.0
        # After the final RMSNorm the channel is about 1.4 (measured), so 1.0 of bias is about 1.0 of logit.
        w["lm_head.weight"][:, 0] = bias / 1.4
    return w


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("out", type=Path)
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--vocab-size", type=int, default=1024)
    ap.add_argument("--hidden-size", type=int, default=128)
    ap.add_argument("--layers", type=int, default=2)
    ap.add_argument("--max-position", type=int, default=8192)
    ap.add_argument(
        "--max-image-tokens", type=int, default=256, help="an image is scaled down to at most this many 28x28 cells"
    )
    ap.add_argument("--plain", action="store_true", help="fully random: no bias towards ending")
    a = ap.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)

    def put(name: str, content: dict) -> None:
        (a.out / name).write_text(json.dumps(content, indent=2) + "\n")

    tok = build_tokenizer(a.vocab_size, a.seed)
    vocab = tok.get_vocab_size()
    assert vocab == a.vocab_size, f"the corpus gives only {vocab} tokens"
    tok.save(str(a.out / "tokenizer.json"))
    tid = {s: tok.token_to_id(s) for s in SPECIALS}

    head_dim = 32  # smallest head size of vLLM's CPU attention
    cfg = {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "model_type": "qwen2_5_vl",
        "attention_dropout": 0.0,
        "bos_token_id": tid["<|endoftext|>"],
        "eos_token_id": tid["<|im_end|>"],
        "vision_start_token_id": tid["<|vision_start|>"],
        "vision_end_token_id": tid["<|vision_end|>"],
        "vision_token_id": tid["<|vision_pad|>"],
        "image_token_id": tid["<|image_pad|>"],
        "video_token_id": tid["<|video_pad|>"],
        "hidden_act": "silu",
        "hidden_size": a.hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": 2 * a.hidden_size,
        "max_position_embeddings": a.max_position,
        "max_window_layers": a.layers,
        "num_attention_heads": a.hidden_size // head_dim,
        "num_hidden_layers": a.layers,
        "num_key_value_heads": max(1, a.hidden_size // head_dim // 2),
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]},  # sums to head_dim / 2
        "sliding_window": a.max_position,
        "use_sliding_window": False,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "use_cache": True,
        "vocab_size": vocab,
        "vision_config": {
            "model_type": "qwen2_5_vl",
            "depth": 2,
            "hidden_act": "silu",
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": 2,
            "in_channels": 3,
            "in_chans": 3,
            "out_hidden_size": a.hidden_size,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "spatial_patch_size": 14,
            "temporal_patch_size": 2,
            "tokens_per_second": 2,
            "window_size": 112,
            "fullatt_block_indexes": [1],
        },
    }
    put("config.json", cfg)
    put(
        "generation_config.json",
        {
            "bos_token_id": tid["<|endoftext|>"],
            "pad_token_id": tid["<|endoftext|>"],
            "eos_token_id": [tid["<|im_end|>"], tid["<|endoftext|>"]],
            "do_sample": True,
        },
    )
    put(
        "tokenizer_config.json",
        {
            "tokenizer_class": "Qwen2Tokenizer",
            "processor_class": "Qwen2_5_VLProcessor",
            "add_prefix_space": False,
            "add_bos_token": False,
            "bos_token": None,
            "clean_up_tokenization_spaces": False,
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "unk_token": None,
            "errors": "replace",
            "model_max_length": a.max_position,
            "additional_special_tokens": SPECIALS[1:],
            "added_tokens_decoder": {
                str(i): {
                    "content": s,
                    "lstrip": False,
                    "normalized": False,
                    "rstrip": False,
                    "single_word": False,
                    "special": True,
                }
                for s, i in tid.items()
            },
            "chat_template": CHAT_TEMPLATE,
        },
    )
    model = json.loads((a.out / "tokenizer.json").read_text())["model"]
    put("vocab.json", model["vocab"])
    (a.out / "merges.txt").write_text(
        "#version: 0.2\n" + "".join((m if isinstance(m, str) else " ".join(m)) + "\n" for m in model["merges"])
    )
    put("chat_template.json", {"chat_template": CHAT_TEMPLATE})
    (a.out / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    cell = 28 * 28
    vision_prep = {
        "min_pixels": 4 * cell,
        "max_pixels": a.max_image_tokens * cell,
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }
    put(
        "preprocessor_config.json",
        {
            **vision_prep,
            "image_processor_type": "Qwen2VLImageProcessor",
            "processor_class": "Qwen2_5_VLProcessor",
        },
    )
    put(
        "video_preprocessor_config.json",
        {
            **vision_prep,
            "video_processor_type": "Qwen2VLVideoProcessor",
            "processor_class": "Qwen2_5_VLProcessor",
        },
    )
    weights = build_weights(cfg, None if a.plain else token_bias(tok, vocab), a.seed)
    save_file(weights, str(a.out / "model.safetensors"), metadata={"format": "pt"})
    size = sum(f.stat().st_size for f in a.out.iterdir())
    print(f"{a.out}: {sum(x.size for x in weights.values()):,} parameters, {vocab} tokens, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
