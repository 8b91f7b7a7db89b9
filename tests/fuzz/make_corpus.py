#!/usr/bin/env python3
"""Writes the seeds of tests/fuzz/corpus: for every target valid inputs and the shapes of known attacks.

Inputs that once broke something are kept beside them as regression-*; this script leaves those alone.
"""
import base64
import gzip
import json
import pathlib
import struct

here = pathlib.Path(__file__).parent
golden = here.parent / "golden"


def put(target, name, content):
    folder = here / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def sized(content):
    content = content if isinstance(content, bytes) else content.encode()
    return struct.pack("<H", len(content)) + content


# --- safetensors: every rule of the format's reader
def tensors(header, data=b"", length=None):
    header = header if isinstance(header, bytes) else header.encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def entry(name, dtype, shape, offsets):
    return f'"{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}'


one = "{" + entry("a", "F32", "[2]", "[0,8]") + "}"
safetensors = {
    "valid": tensors(one, bytes(8)),
    "valid_mixed": (golden / "mixed.safetensors").read_bytes(),
    "valid_padded": tensors(one + "     ", bytes(8)),
    "valid_empty": tensors("{" + entry("a", "F32", "[0]", "[0,0]") + "," + entry("b", "F64", "[]", "[0,8]") + "}", bytes(8)),
    "valid_metadata": tensors('{"__metadata__":{"format":"pt"}}'),
    "short": b"1234567",
    "length_over_limit": tensors("{}", length=100_000_001),
    "length_2_64": tensors("{}", length=2**64 - 1),
    "length_overflows_with_8": tensors("{}", length=2**63 - 4),
    "length_over_end": tensors("{}", length=3),
    "space_first": tensors(" {}"),
    "bad_utf8": tensors(b'{"__metadata__":{"a":"\xff"}}'),
    "surrogate": tensors(b'{"__metadata__":{"a":"\xed\xa0\x80"}}'),
    "duplicate": tensors("{" + entry("a", "U8", "[1]", "[0,1]") + "," + entry("a", "U8", "[1]", "[0,1]") + "}", b"1"),
    "hole": tensors("{" + entry("a", "U8", "[1]", "[0,1]") + "," + entry("b", "U8", "[1]", "[2,3]") + "}", b"123"),
    "overlap": tensors("{" + entry("a", "U8", "[2]", "[0,2]") + "," + entry("b", "U8", "[2]", "[1,3]") + "}", b"123"),
    "backwards": tensors("{" + entry("a", "U8", "[1]", "[1,0]") + "}", b"1"),
    "product_overflows": tensors("{" + entry("a", "U8", "[4294967296,4294967296]", "[0,0]") + "}"),
    "bits_overflow": tensors("{" + entry("a", "F32", "[1152921504606846976]", "[0,0]") + "}"),
    "half_byte": tensors("{" + entry("a", "F4", "[3]", "[0,1]") + "}", b"1"),
    "negative": tensors("{" + entry("a", "U8", "[-1,-1]", "[0,1]") + "}", b"1"),
    "offset_2_64": tensors("{" + entry("a", "U8", "[1]", "[0,18446744073709551616]") + "}", b"1"),
    "offset_fraction": tensors("{" + entry("a", "U8", "[1]", "[0,1.0]") + "}", b"1"),
    "trailing": tensors(one, bytes(9)),
    "truncated": tensors(one, bytes(7)),
    "metadata_nested": tensors('{"__metadata__":{"a":{"b":"c"}}}'),
    "unknown_dtype": tensors("{" + entry("a", "F31", "[1]", "[0,4]") + "}", bytes(4)),
    "deep": tensors('{"a":' + "[" * 5000),
}
for name, content in safetensors.items():
    put("safetensors", name, content)

# --- adapters
config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": ".", "r": 2, "lora_alpha": 4.0,
          "target_modules": ["q_proj"], "fan_in_fan_out": False, "bias": "none"}
q = "base_model.model.model.layers.0.self_attn.q_proj."
pair = tensors("{" + entry(q + "lora_A.weight", "F32", "[2,3]", "[0,24]") + "," +
               entry(q + "lora_B.weight", "F32", "[3,2]", "[24,48]") + "}", struct.pack("<12f", *range(12)))


def adapter(changes=None, weights=pair):
    return sized(json.dumps(config | (changes or {}))) + weights


put("adapter", "valid", adapter())
put("adapter", "valid_conv1d", adapter({"fan_in_fan_out": True}))
put("adapter", "valid_head", adapter(weights=tensors(
    "{" + entry("base_model.model.score.weight", "F32", "[1,2]", "[0,8]") + "}", bytes(8))))
put("adapter", "dora", adapter({"use_dora": True}))
put("adapter", "rank_pattern", adapter({"rank_pattern": {"q_proj": 8}}))
put("adapter", "rank_lies", adapter({"r": 3}))
put("adapter", "rank_huge", adapter({"r": 10**9}))
put("adapter", "alpha_huge", adapter({"lora_alpha": 1e300}))
put("adapter", "alpha_text", adapter({"lora_alpha": "4"}))
put("adapter", "base_long", adapter({"base_model_name_or_path": "a" * 5000}))
put("adapter", "base_nul", adapter({"base_model_name_or_path": "a\0b"}))
put("adapter", "base_upwards", adapter({"base_model_name_or_path": "../../../../../../../../etc/passwd"}))
put("adapter", "not_finite", adapter(weights=pair[:-4] + struct.pack("<f", float("nan"))))
put("adapter", "lacks_partner", adapter(weights=tensors(
    "{" + entry(q + "lora_A.weight", "F32", "[2,3]", "[0,24]") + "}", bytes(24))))
put("adapter", "other_prefix", adapter(weights=tensors("{" + entry("q.lora_A.weight", "F32", "[2,1]", "[0,8]") + "}", bytes(8))))

# --- the index of sharded weights
index = lambda files: json.dumps({"metadata": {"total_size": 8}, "weight_map": files})
put("weight_index", "valid", index({"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}))
for name, file in {"upwards": "../secret.safetensors", "absolute": "/etc/passwd", "hidden": ".ssh", "dots": "..",
                   "backslash": "..\\secret", "nul": "model\0.safetensors", "long": "a" * 300, "empty": "",
                   "device": "state/../../dev/zero", "url": "http://host/model.safetensors"}.items():
    put("weight_index", name, index({"a": file}))
put("weight_index", "duplicate", '{"weight_map":{"a":"x.safetensors","a":"../y"}}')
put("weight_index", "list", '{"weight_map":[]}')

# --- model configurations of Hugging Face
for path in sorted(golden.glob("family_*.json")):
    put("huggingface_config", path.stem, path.read_bytes())
llama = json.loads((golden / "family_llama.json").read_text())
for name, changes in {"heads_zero": {"num_attention_heads": 0}, "width_huge": {"hidden_size": 2**62},
                      "layers_huge": {"num_hidden_layers": 10**18}, "negative": {"vocab_size": -1},
                      "groups": {"num_key_value_heads": 3}, "theta": {"rope_theta": 1e308}, "epsilon": {"rms_norm_eps": -1e-5},
                      "null": {"hidden_size": None}, "texts": {"hidden_size": "64"}}.items():
    put("huggingface_config", name, json.dumps(llama | changes))

# --- tokenizers
base = json.loads((golden / "tokenizer_bpe_gpt2.json").read_text())
put("tokenizer", "valid_llama3", (golden / "tokenizer_bpe_llama3.json").read_bytes())
small = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
         "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
         "post_processor": None, "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
         "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                   "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                   "vocab": {}, "merges": []}}
letters = list("abcdefgh") + ["ab", "abc", "cab"]


def tokenizer(model=None, **changes):
    result = json.loads(json.dumps(small)) | {"added_tokens": []} | changes
    bytes_of = {token: number for token, number in base["model"]["vocab"].items() if len(token) == 1}
    vocabulary = dict(sorted(bytes_of.items(), key=lambda pair: pair[1]))
    vocabulary = {token: number for number, token in enumerate(vocabulary)}
    for token in letters:
        vocabulary.setdefault(token, len(vocabulary))
    result["model"] |= {"vocab": vocabulary, "merges": ["a b", "ab c"]} | (model or {})
    return json.dumps(result, ensure_ascii=False, separators=(",", ":"))


plain = json.loads(tokenizer())["model"]["vocab"]
added = lambda content, number, **flags: {"id": number, "content": content, "single_word": False, "lstrip": False,
                                          "rstrip": False, "normalized": False, "special": True} | flags
put("tokenizer", "valid", tokenizer())
put("tokenizer", "valid_pairs", tokenizer({"merges": [["a", "b"], ["ab", "c"]]}))
put("tokenizer", "valid_special", tokenizer(added_tokens=[added("<|end|>", len(plain), lstrip=True, rstrip=True)]))
put("tokenizer", "merges_cyclic", tokenizer({"merges": ["a b", "ab c", "abc ab", "c ab", "ab c"]}))
put("tokenizer", "merges_duplicate", tokenizer({"merges": ["a b"] * 3}))
put("tokenizer", "merges_unknown", tokenizer({"merges": ["x y"]}))
put("tokenizer", "merges_three", tokenizer({"merges": ["a b c"]}))
put("tokenizer", "merges_empty", tokenizer({"merges": [" ", "a ", " a", ""]}))
put("tokenizer", "ids_billion", tokenizer({"vocab": plain | {"zz": 10**9}}))
put("tokenizer", "ids_2_63", tokenizer({"vocab": plain | {"zz": 2**63}}))
put("tokenizer", "ids_negative", tokenizer({"vocab": plain | {"zz": -1}}))
put("tokenizer", "ids_twice", tokenizer({"vocab": plain | {"zz": 0}}))
put("tokenizer", "added_billion", tokenizer(added_tokens=[added("<x>", 10**9)]))
put("tokenizer", "added_empty", tokenizer(added_tokens=[added("", len(plain))]))
put("tokenizer", "added_prefixes", tokenizer(added_tokens=[added("<" * i, len(plain) + i - 1) for i in range(1, 20)]))
put("tokenizer", "regex_exponential", tokenizer(pre_tokenizer={"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}))
put("tokenizer", "regex_recursive", tokenizer(pre_tokenizer={"type": "Split", "pattern": {"Regex": "(?R)?a|(?1)(b)"}, "behavior": "Isolated", "invert": False}))
put("tokenizer", "regex_counts", tokenizer(pre_tokenizer={"type": "Split", "pattern": {"Regex": "(((a{1000}){1000}){1000})"}, "behavior": "Isolated", "invert": False}))
put("tokenizer", "regex_callout", tokenizer(pre_tokenizer={"type": "Split", "pattern": {"Regex": "a(?C1)(*UTF)\\Kb"}, "behavior": "Isolated", "invert": False}))
put("tokenizer", "replace_grows", tokenizer(normalizer={"type": "Sequence", "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "aaaaaaaaaaaaaaaa"}] * 8}))
put("tokenizer", "replace_empty", tokenizer(normalizer={"type": "Replace", "pattern": {"String": ""}, "content": "x"}))
put("tokenizer", "sequence_deep", tokenizer(normalizer=json.loads('{"type":"Sequence","normalizers":[' * 30 + "]}" * 30)))
put("tokenizer", "unknown_normalizer", tokenizer(normalizer={"type": "Lowercase"}))

def wordpiece(model=None, **changes):
    document = json.loads(tokenizer())
    document |= {"normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
                 "pre_tokenizer": {"type": "BertPreTokenizer"}, "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
                 "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
                           "vocab": {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "un": 3, "##a": 4, "##ff": 5, "##able": 6, ".": 7, "é": 8}} | (model or {}),
                 "added_tokens": [added(name, id) for id, name in enumerate(["[UNK]", "[CLS]", "[SEP]"])]}
    document |= changes
    return json.dumps(document)


put("tokenizer", "wordpiece_valid", wordpiece())
put("tokenizer", "wordpiece_processing", wordpiece(post_processor={"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]}))
put("tokenizer", "wordpiece_without_unknown", wordpiece({"unk_token": "<unk>"}))
put("tokenizer", "wordpiece_long_words", wordpiece({"max_input_chars_per_word": 2**62}))
put("tokenizer", "wordpiece_no_words", wordpiece({"max_input_chars_per_word": 0}))
put("tokenizer", "wordpiece_no_prefix", wordpiece({"continuing_subword_prefix": ""}, decoder={"type": "WordPiece", "prefix": "", "cleanup": False}))
put("tokenizer", "wordpiece_long_token", wordpiece({"max_input_chars_per_word": 10000, "vocab": {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3, "##" + "a" * 5000: 4}},
                                                   pre_tokenizer=None, normalizer=None))
put("tokenizer", "wordpiece_odd_normalizer", wordpiece(normalizer={"type": "BertNormalizer", "clean_text": 1}))
def character_map(units, texts):
    return base64.b64encode(struct.pack(f"<{len(units) + 1}I", 4 * len(units), *units) + texts).decode()


def unigram(model=None, **changes):
    space = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    units = [0] * 512  # one rule: "b" is "c"
    units[0], units[256 + ord("b")], units[256] = 256 << 10, ord("b") | 1 << 8 | ord("b") << 10, 1 << 31
    document = json.loads(tokenizer())
    document |= {"normalizer": {"type": "Precompiled", "precompiled_charsmap": character_map(units, b"c\0")},
                 "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, space]}, "decoder": space,
                 "model": {"type": "Unigram", "unk_id": 2, "byte_fallback": False,
                           "vocab": [["<pad>", 0], ["</s>", 0], ["<unk>", 0], ["▁", -2.5], ["▁a", -3], ["c", -4], ["ac", -1]]} | (model or {}),
                 "added_tokens": [added(name, id) for id, name in enumerate(["<pad>", "</s>", "<unk>"])]}
    document |= changes
    return json.dumps(document)


def precompiled(units, texts=b"c\0"):
    return unigram(normalizer={"type": "Precompiled", "precompiled_charsmap": character_map(units, texts)})


put("tokenizer", "unigram_valid", unigram())
put("tokenizer", "unigram_old", unigram(decoder={"type": "Metaspace", "replacement": "▁", "add_prefix_space": True, "str_rep": "▁"}))
put("tokenizer", "unigram_bytes", unigram({"byte_fallback": True, "vocab": [["<unk>", 0], ["<0xC3>", -1], ["<0xA9>", -1]], "unk_id": 0}, added_tokens=[]))
put("tokenizer", "unigram_without_unknown", unigram({"unk_id": None}))
put("tokenizer", "unigram_scores", unigram({"vocab": [["a", 1e308], ["b", -1e308], ["<unk>", 1e308], ["ab", -1e-320]]}, added_tokens=[]))
put("tokenizer", "unigram_twice", unigram({"vocab": [["a", 0], ["a", 0], ["<unk>", 0]]}, added_tokens=[]))
put("tokenizer", "unigram_pairs", unigram({"vocab": [["a"], [], "a", [0, "a"]]}))
put("tokenizer", "map_out", precompiled([0xFFFFFC00] + [0] * 3))
put("tokenizer", "map_cycle", precompiled([c & 0xFF for c in range(256)]))
put("tokenizer", "map_no_text", precompiled([1024] + [c | 1 << 8 for c in range(255)]))
put("tokenizer", "map_size", unigram(normalizer={"type": "Precompiled", "precompiled_charsmap": base64.b64encode(struct.pack("<II", 2**31, 0)).decode()}))
put("tokenizer", "map_base64", unigram(normalizer={"type": "Precompiled", "precompiled_charsmap": "====" * 9}))
put("tokenizer", "strip", unigram(normalizer={"type": "Strip", "strip_left": True, "strip_right": True}))
put("tokenizer", "bad_utf8", tokenizer().encode().replace(b'"a b"', b'"\xff \xfe"'))

# --- text
put("bpe", "words", "Hello, world! It's 2024's 1st test:\n\n  \tfoo_bar(42)  <|endoftext|> ")
put("bpe", "japanese", "吾輩は猫である。名前はまだ無い。\u3000第１章\r\n")
put("bpe", "emoji", "👩‍👩‍👧‍👦🏳️‍🌈 e\u0301 \u180e\u2028\u00a0\u200d")
put("bpe", "invalid", b"\xff\xfe abc \xc0\x80 \xed\xa0\x80 \xf4\x90\x80\x80 \xe3\x81")
put("bpe", "spaces", " " * 300 + "\n" * 300 + "a" * 300)
put("bpe", "cases", "AaAaAaDZdz'S'LL'\u017f camelCASE \u0660\u0661\u0662 x\u00b2")

# --- JSON
put("json", "valid", '{"a":[1,-2,3.5e10,true,null,"\\u00e9\\ud83d\\ude00"],"b":{"c":{}}}')
put("json", "deep", "[" * 10000 + "]" * 10000)
put("json", "deep_objects", '{"a":' * 5000 + "1" + "}" * 5000)
put("json", "duplicate", '{"a":1,"a":2}')
put("json", "integer_2_64", '{"a":18446744073709551616,"b":-9223372036854775809,"c":9223372036854775808}')
put("json", "double_huge", "[1e999,-1e999,1e-999]")
put("json", "bad_utf8", b'{"a":"\xff","b":"\xed\xa0\x80"}')
put("json", "lone_surrogate", '["\\ud800"]')
put("json", "nul", b'{"a":"\\u0000","b\\u0000":1}\0')
put("json", "byte_order_mark", b"\xef\xbb\xbf{}")

# --- token files: flags, list of documents, tokens
def own(tokens=3, width=2, version=1, vocabulary=100, documents=1, checksum=0, body=None, magic=b"TSUGITOK"):
    body = struct.pack("<3H", 1, 2, 3) if body is None else body
    return magic + struct.pack("<IIQQQI20x", version, width, vocabulary, tokens, documents, checksum) + body


def listed(starts=(0,), count=None, version=1):
    return (b"TSUGIDOC" + struct.pack("<IIQ", version, 0, len(starts) if count is None else count) +
            struct.pack(f"<{len(starts)}q", *starts))


def token_file(flags, documents, content):
    return bytes([flags]) + sized(documents) + content


put("token_file", "valid", token_file(2, listed(), own()))
put("token_file", "valid_alone", token_file(1, b"", own(documents=0)))
put("token_file", "valid_wide", token_file(1, b"", own(width=4, tokens=1, documents=0, body=struct.pack("<I", 7))))
put("token_file", "valid_headerless", token_file(1, b"", struct.pack("<8H", *range(8))))
put("token_file", "valid_llmc", token_file(1, b"", struct.pack("<3i1012x", 20240520, 1, 2) + struct.pack("<2H", 1, 2)))
put("token_file", "valid_llmc_wide", token_file(1, b"", struct.pack("<3i1012x", 20240801, 7, 1) + struct.pack("<I", 128000)))
for name, content in {"count_2_64": own(tokens=2**64 - 1), "count_overflows": own(tokens=2**63), "count_too_many": own(tokens=4),
                      "count_zero": own(tokens=0, body=b""), "width_zero": own(width=0), "width_3": own(width=3),
                      "vocabulary_zero": own(vocabulary=0), "vocabulary_2_63": own(vocabulary=2**63), "version": own(version=2),
                      "id_over_vocabulary": own(vocabulary=2), "header_cut": own()[:40],
                      "llmc_count_negative": struct.pack("<3i1012x", 20240520, 1, -1) + b"12",
                      "llmc_version": struct.pack("<3i1012x", 20240520, 99, 1) + b"12", "llmc_cut": struct.pack("<3i", 20240520, 1, 1),
                      "id_negative": own(width=4, tokens=1, documents=0, vocabulary=2**31, body=b"\xff" * 4)}.items():
    put("token_file", name, token_file(1, b"", content))
for name, documents, count in [("documents_backwards", listed((0, 2, 1)), 3), ("documents_beyond", listed((0, 2**62)), 2),
                               ("documents_not_0", listed((1,)), 1), ("documents_lie", listed((0,), 2**61), 2**61),
                               ("documents_negative", listed((0, -1)), 2), ("documents_cut", listed()[:20], 1)]:
    put("token_file", name, token_file(2, documents, own(documents=count)))


def megatron(lengths=(2, 1), pointers=(0, 4), documents=(0, 2), version=1, code=8, sequences=None, count=None, tail=b""):
    sequences = len(lengths) if sequences is None else sequences
    count = len(documents) if count is None else count
    return (b"MMIDIDX\0\0" + struct.pack("<QBQQ", version, code, sequences, count) + struct.pack(f"<{len(lengths)}i", *lengths) +
            struct.pack(f"<{len(pointers)}q", *pointers) + struct.pack(f"<{len(documents)}q", *documents) + tail)


three = sized(struct.pack("<3H", 1, 2, 3))
put("megatron", "valid", three + megatron())
put("megatron", "valid_modes", three + megatron(tail=b"\0\0"))
put("megatron", "valid_wide", sized(struct.pack("<2i", 1, 2)) + megatron((2,), (0,), (0, 1), code=4))
for name, content in {"sequences_2_64": megatron(sequences=2**64 - 1), "sequences_2_62": megatron(sequences=2**62),
                      "documents_2_63": megatron(count=2**63), "length_negative": megatron((-2, 1)),
                      "length_huge": megatron((2**31 - 1, 1)), "pointer_negative": megatron(pointers=(-2, 4)),
                      "pointer_odd": megatron(pointers=(1, 4)), "pointer_beyond": megatron(pointers=(0, 2**62)),
                      "documents_backwards": megatron(documents=(0, 2, 1)), "documents_beyond": megatron(documents=(0, 3)),
                      "floats": megatron(code=6), "code_0": megatron(code=0), "version_2": megatron(version=2),
                      "cut": megatron()[:30], "empty": megatron((), (), (0,))}.items():
    put("megatron", name, three + content)

shards = {"format": "tsugi token shards", "version": 1, "vocabulary": 100, "tokens": 3, "documents": 1,
          "shards": [{"file": "tokens-00000.bin", "tokens": 3, "documents": 1, "bytes": 70, "crc32c": "00000000"}],
          "hash": "0000000000000000"}
put("token_shards", "wrong_hash", json.dumps(shards))
for name, changes in {"upwards": {"file": "../a.bin"}, "absolute": {"file": "/etc/passwd"}, "hidden": {"file": ".a"},
                      "tokens_huge": {"tokens": 2**60}, "tokens_zero": {"tokens": 0}, "crc": {"crc32c": "0x000000"},
                      "documents_many": {"documents": 4}}.items():
    put("token_shards", name, json.dumps(shards | {"shards": [shards["shards"][0] | changes] * 9}))

# --- compressed text and blocks
text = b"one line\nand another\n" * 20
put("input_stream", "gzip", gzip.compress(text, mtime=0))
put("input_stream", "gzip_two", gzip.compress(b"a", mtime=0) + gzip.compress(b"b", mtime=0))
put("input_stream", "gzip_cut", gzip.compress(text, mtime=0)[:-6])
put("input_stream", "gzip_trailing", gzip.compress(text, mtime=0) + b"rubbish")
put("input_stream", "gzip_bomb", gzip.compress(bytes(1 << 22), mtime=0))
put("input_stream", "zstd", bytes.fromhex("28b52ffd0458410000616263e2a4ac9a") + b"")
put("input_stream", "zstd_raw", bytes.fromhex("28b52ffd2003190000616263"))
put("input_stream", "zstd_window_huge", bytes.fromhex("28b52ffd00f8010000"))
put("input_stream", "empty", b"\n"[:0] + b" ")
put("blocks", "text", bytes([7, 0]) + b"first ab second ababab third\n")
put("blocks", "lines", bytes([3, 1]) + b'{"text":"a"}\n\n{"text":"b"}\r\n{"text":')
put("blocks", "cut", bytes([0, 2]) + "長い文章 ab".encode() * 9 + b"\xff\xfe")
put("blocks", "no_separator", bytes([1, 4]) + b"abab" * 20)

# --- configurations of runs
demo = (here.parents[1] / "launch/recipes/demo.textproto").read_text()
demo = "\n".join(line for line in demo.splitlines() if not line.startswith("#"))
put("run_config", "valid", demo)
put("run_config", "valid_overrides", demo + "\0optimizer.learning_rate=3e-4\0model.layers=2")
put("run_config", "unknown_field", "model { layrs: 2 }")
put("run_config", "twice", "steps: 1 steps: 2")
put("run_config", "out_of_range", demo.replace("steps: 2000", "steps: -1"))
put("run_config", "integer_2_64", demo.replace("steps: 2000", "steps: 18446744073709551616"))
put("run_config", "not_finite", demo.replace("2e-3", "nan"))
put("run_config", "deep", "model {" * 3000)
put("run_config", "any", '[type.googleapis.com/tsugi.RunConfig] { }')
put("run_config", "bad_utf8", b'name: "\xff\xfe"')
put("run_config", "override_odd", demo + "\0=\0model=\0model.layers\0..=1\0model.layers=1e999\0name=a\nb")

# --- sweeps
table = "n,d,c,loss\n1e6,2e7,1.2e14,4.5\n2e6,4e7,4.8e14,4.1\n"
sweep = lambda csv, columns="", where="", hold_out="", filter="": "\0".join([columns, where, hold_out, filter, csv])
put("sweep", "valid", sweep(table))
put("sweep", "valid_columns", sweep('Model Size,"Tokens, B",loss\n1e6,0.02,4.5\n', 'n=Model Size,"d=Tokens, B*1e9",loss=loss',
                                    "loss < 9 and d >= 1", "n > 1e9", "ratio >= 1"))
put("sweep", "quotes", sweep('n,d,loss\n"1e6",2e7,"4.5\n'))
put("sweep", "ragged", sweep("n,d,loss\n1,2\n"))
put("sweep", "same_column", sweep("n,n,loss\n1,2,3\n"))
put("sweep", "numbers", sweep("n,d,loss\n-1e6,2e7,4\n1e999,2e7,4\nnan,2e7,4\n0x10,2e7,4\n1e-320,1e308,4\n"))
put("sweep", "product_overflows", sweep("n,d,loss\n1e200,1e200,4.5\n"))
put("sweep", "factor", sweep(table, "n=n*1e400,d=d*-1,loss=loss*0"))
put("sweep", "conditions", sweep(table, "", "loss < < 4 and and", '"', "n = 'a"))
put("sweep", "nul_and_bytes", sweep(table).encode() + b"\xff,\0,\n")

# --- manifests: flags, text
files = {name: {"bytes": 10, "crc32c": "00000000"} for name in
         ["model.safetensors", "config.json", "state/run.json", "state/shard-00000-of-00001.safetensors"]}
content = {"version": 1, "step": 1000, "generation": 2, "world_size": 1, "config_crc32c": "5e0f1a22", "files": files}
manifest = lambda changes=None: b"\1" + json.dumps({"crc32c": "00000000", "manifest": content | (changes or {})}).encode()
put("manifest", "valid", manifest())
put("manifest", "wrong_checksum", b"\0" + manifest()[1:])
for name, file in {"upwards": "../x", "absolute": "/etc/passwd", "deep": "state/state/x", "hidden": "state/.x"}.items():
    put("manifest", name, manifest({"files": files | {file: {"bytes": 1, "crc32c": "00000000"}}}))
put("manifest", "world_huge", manifest({"world_size": 2**31}))
put("manifest", "world_without_shards", manifest({"world_size": 1 << 20}))
put("manifest", "bytes_negative", manifest({"files": files | {"config.json": {"bytes": -1, "crc32c": "00000000"}}}))
put("manifest", "step_2_63", manifest({"step": 2**63}))
put("manifest", "version", manifest({"version": 2}))

# --- JSON lines
put("multiple_choice", "valid", '{"ctx":"A cat","endings":["sits.","flies."],"label":0}\n\n{"ctx":"B","endings":["x","y"],"label":"1"}\n')
for name, line in {"label_over": '{"ctx":"A","endings":["x","y"],"label":2}', "label_negative": '{"ctx":"A","endings":["x","y"],"label":-1}',
                   "label_text": '{"ctx":"A","endings":["x","y"],"label":"1x"}', "label_long": '{"ctx":"A","endings":["x","y"],"label":"99999999999999999999"}',
                   "one_ending": '{"ctx":"A","endings":["x"],"label":0}', "empty": '{"ctx":"","endings":["x","y"],"label":0}',
                   "number": "7", "torn": '{"ctx":"A","endings":['}.items():
    put("multiple_choice", name, line)
put("multiple_choice", "bad_utf8", b'{"ctx":"\xff","endings":["x","y"],"label":0}\n')
put("labelled", "valid", '{"text":"one","label":"a"}\n{"text":"two","label":7}\r\n')
put("labelled", "label_object", '{"text":"one","label":{}}\n')
put("labelled", "label_2_64", '{"text":"one","label":18446744073709551616}\n{"text":"one","label":-0}')
put("labelled", "bad_utf8", b'{"text":"\xff","label":"a"}\n')
put("labelled", "blank", "\n \n\t\n")

# --- instructions: flags, lines
put("instructions", "valid", b'\0{"prompt":"2+2=","response":"4"}\n\n{"prompt":"","completion":"x"}\r\n')
chat = '{"messages":[{"role":"system","content":"s"},{"role":"user","content":"u"},{"role":"assistant","content":"a"}]}'
put("instructions", "valid_messages", b"\1" + chat.encode() + b"\n")
put("instructions", "valid_pair", b'\1{"prompt":[{"role":"user","content":"u"}],"response":[{"role":"assistant","content":"a"}]}')
put("instructions", "special_tokens", b'\1{"prompt":"<|eot_id|><|begin_of_text|>","response":"<|end_of_text|>"}')
put("instructions", "long", b'\2{"prompt":"' + 250 * b"p" + b'","response":"r"}\n{"prompt":"p","response":"' + 250 * b"r" + b'"}')
put("instructions", "cut", b'\0{"prompt":"' + 250 * b"p" + b'","response":"r"}\n{"prompt":"p","response":"' + 250 * b"r" + b'"}')
for name, line in {"role": '{"messages":[{"role":"tool","content":"x"}]}', "empty_messages": '{"messages":[]}', "no_content": '{"messages":[{"role":"user"}]}',
                   "mixed": '{"prompt":"p","response":[{"role":"assistant","content":"a"}]}', "number": '{"prompt":1,"response":2}',
                   "nothing_to_learn": '{"prompt":"p","response":""}', "deep": '{"prompt":' + 300 * "[" + 300 * "]" + "}", "torn": '{"prompt":"'}.items():
    put("instructions", name, b"\0" + line.encode())
put("instructions", "bad_utf8", b'\0{"prompt":"\xff","response":"r"}')

# --- checkpoints: sized run.json, sized shard, model
run = {"version": 1, "step": 1, "next_sample": 8, "evaluation_due": False, "config": "steps: 1", "facts": {"build": "x"}}
model = tensors("{" + entry("a", "F32", "[2,2]", "[0,16]") + "," + entry("b", "F32", "[2]", "[16,24]") + "}", bytes(24))
moments = [("exp_avg/a@0", 4), ("exp_avg/b@0", 2), ("exp_avg_sq/a@0", 3), ("exp_avg_sq/a@3", 1), ("exp_avg_sq/b@1", 1)]


def shard(pieces):
    header, at = [], 0
    for name, count in pieces:
        header.append(entry(name, "F32", f"[{count}]", f"[{at},{at + 4 * count}]"))
        at += 4 * count
    return tensors("{" + ",".join(header) + "}", bytes(at))


checkpoint = lambda state=run, pieces=moments, masters=model: sized(json.dumps(state)) + sized(shard(pieces)) + masters
put("checkpoint", "valid", checkpoint())
for name, changes in {"other_step": {"step": 2}, "version": {"version": 2}, "step_2_64": {"step": 2**64}, "sample_negative": {"next_sample": -1},
                      "facts_number": {"facts": {"a": 1}}, "config_missing": {"config": None}, "due_text": {"evaluation_due": "yes"}}.items():
    put("checkpoint", name, checkpoint(state=run | changes))
for name, piece in {"twice": ("exp_avg/a@1", 2), "beyond": ("exp_avg/a@4", 1), "offset_2_64": ("exp_avg/a@18446744073709551616", 1),
                    "offset_text": ("exp_avg/a@x", 1), "no_offset": ("exp_avg/a", 1), "unknown": ("exp_avg/c@0", 1), "kind": ("exp/a@0", 1)}.items():
    put("checkpoint", name, checkpoint(pieces=moments + [piece]))
put("checkpoint", "hole", checkpoint(pieces=moments[:-1]))
put("checkpoint", "shape", checkpoint(masters=tensors("{" + entry("a", "F32", "[4]", "[0,16]") + "," + entry("b", "F32", "[2]", "[16,24]") + "}", bytes(24))))
put("checkpoint", "further", checkpoint(masters=tensors("{" + entry("a", "F32", "[2,2]", "[0,16]") + "," + entry("b", "F32", "[2]", "[16,24]") + ","
                                                       + entry("c", "F32", "[1]", "[24,28]") + "}", bytes(28))))

# --- fits
fit = {"tsugi_fit": {"version": 1, "form": "chinchilla", "theta": [1.7, 400.0, 400.0, 0.34, 0.28], "fixed": 0, "level": 0.9, "seed": 1,
                     "fitted": {"n": [1e6, 1e9], "d": [1e7, 1e10], "c": [1e14, 1e20]}, "residuals": [0.1, -0.1],
                     "samples": [[1.7, 400.0, 400.0, 0.34, 0.28]], "rivals": []}}
put("fit_file", "valid", json.dumps(fit))
for name, changes in {"theta_short": {"theta": [1]}, "theta_text": {"theta": ["a"] * 5}, "level": {"level": 1.0}, "form": {"form": "x"},
                      "fixed": {"fixed": 2**40}, "seed": {"seed": -1}, "residuals": {"residuals": []}, "samples": {"samples": [[]]},
                      "rivals": {"rivals": [{"form": "chinchilla", "theta": [1e999] * 5}]}}.items():
    put("fit_file", name, json.dumps({"tsugi_fit": fit["tsugi_fit"] | changes}))

# --- what is predicted from it, and results of a sweep's tasks
prediction = {"fit": {"file": "fit.json", "hash": "00112233aabbccdd", "form": "chinchilla"}, "time": "2026-11-22T20:00:00Z",
              "n": 1e6, "d": 2e7, "c": 1.2e14, "loss": 3.5, "level": 0.95, "interval": [3.4, 3.6]}
put("prediction", "valid", json.dumps(prediction))
for name, changes in {"no_interval": {"interval": [None, None]}, "three": {"interval": [1, 2, 3]}, "backwards": {"interval": [3.6, 3.4]},
                      "negative": {"loss": -1}, "text": {"n": "1e6"}, "level": {"level": 1.0}, "fit": {"fit": "fit.json"},
                      "infinite": {"c": 1e999}}.items():
    put("prediction", name, json.dumps(prediction | changes).replace("Infinity", "1e999"))
result = {"id": "0123456789abcdef", "name": "8x4", "status": "done", "loss": 3.5, "tokens_per_second": 1e5, "mfu": 0.5, "mfu_causal": 0.4,
          "ranks": 2, "threads": 1, "program": "tsugi 0.1", "host": "node-1", "processor": "", "learning_rate": 0.001, "seconds": 12.5}
run, tuning = b"\0", b"\1"
put("sweep_result", "valid", run + json.dumps(result).encode())
put("sweep_result", "diverged", run + json.dumps(result | {"status": "diverged", "reason": "loss is nan\x07"}).encode())
put("sweep_result", "downstream", tuning + json.dumps(result | {"accuracy": 0.4, "majority_accuracy": 0.1, "ngram_accuracy": 0.3}).encode())
for name, changes in {"other_id": {"id": "f"}, "status": {"status": "lost"}, "ranks_negative": {"ranks": -1}, "ranks_2_40": {"ranks": 2**40},
                      "loss_text": {"loss": "3.5"}, "loss_null": {"loss": None}, "threads_float": {"threads": 1.5}}.items():
    put("sweep_result", name, run + json.dumps(result | changes).encode())
put("sweep_result", "not_utf8", run + json.dumps(result | {"reason": "x"}).encode().replace(b'"x"', b'"\xff"'))

# --- pages
put("html", "valid", "<html><head><title>T</title><link rel='next' href='b.html#x'/></head><body><h1>Chapter 1. A</h1><p>one &amp; &#x4e8c;</p>"
    "<pre>code\n  here</pre><ul><li>x</li></ul><table><tr><td>a</td><td>b</td></tr></table></body></html>")
put("html", "cut", "<p>a<b>b<i><!-- <script>x</scrip")
put("html", "entities", "<p>&#0;&#xd800;&#x110000;&#99999999999999999999;&eacute;&nosuch;&#x;&;&amp")
put("html", "attributes", "<a href=x class='toc \"y' =z <h1 id=>t</h1 x><br/><p/><//><?php ?><![CDATA[ x ]]>")
put("html", "bytes", b"<p>\xff\xfe\0\x0c</p>\xe3\x81")
put("html", "deep", "<div>" * 3000 + "x")


# --- pictures, and IDX arrays with labels and classes
for picture in sorted((golden / "images").iterdir()):
    put("image", picture.name, picture.read_bytes())
put("image", "png_truncated", (golden / "images" / "colour.png").read_bytes()[:120])
wide = bytearray((golden / "images" / "grey.png").read_bytes())
wide[16:20] = struct.pack(">I", 2**31 - 1)
put("image", "png_two_billion_wide", bytes(wide))


def idx(extents, content):
    return bytes([0, 0, 8, len(extents)]) + b"".join(struct.pack(">I", extent) for extent in extents) + content


put("idx", "valid", sized(idx([2, 2, 3], bytes(range(12)))) + sized(idx([2], bytes([1, 0]))) + b'["a","b"]')
put("idx", "colours_without_labels", sized(idx([1, 2, 2, 3], bytes(12))) + sized(b""))
put("idx", "numbers_for_names", sized(idx([1, 1, 1], b"x")) + sized(idx([1], b"\xff")))
put("idx", "too_few_classes", sized(idx([1, 1, 1], b"x")) + sized(idx([1], b"\x05")) + b'["a"]')
put("idx", "more_than_there_is", sized(idx([65535, 65535, 65535], b"x")) + sized(b""))
put("idx", "overflow", sized(idx([2**32 - 1] * 4, b"")) + sized(b""))


# --- prompts
put("prompts", "valid_lines", b"\0one\r\n\ntwo")
put("prompts", "valid_objects", '\1{"prompt": "one"}\n\n{"prompt": ""}\n')
put("prompts", "empty_lines", b"\0\r\n\n")
put("prompts", "no_prompt", '\1{"text": "one"}')
put("prompts", "number", '\1{"prompt": 1}')
put("prompts", "bad_utf8", b'\1{"prompt": "\xff"}')


# --- what prepare goes on from
def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def journal(blocks, documents=2, progress="", **changes):
    blocks = b"".join(struct.pack("<5q", *block) for block in blocks)
    records = bytes(24 * documents)
    scan = {"documents": documents, "validation_documents": 1, "empty": 0, "records_checksum": crc32c(records),
            "blocks_checksum": crc32c(blocks), "code_points": [10, 97], **changes}
    return sized(json.dumps(scan)) + sized(blocks) + sized(records) + progress.encode()


def side(name, **changes):
    return {"shards": [{"file": name, "tokens": 5, "documents": 1, "bytes": 266, "crc32c": 7}], "tokens": 3, "documents": 1,
            "token_checksum": 1, "start_checksum": 2, "written": [2, 8, 30], **changes}


def progress(train, **changes):
    return json.dumps({"next_block": 1, "finished": False, "train": train, "validation": side("validation-00000.bin"),
                       "longest": {"tokens": 5, "bytes": 20, "place": "a.txt: byte 0"}, **changes})


two = [(0, 2, 0, 1, 0), (2, 3, 100, 7, 1)]
put("prepare_journal", "valid", journal(two, progress=progress(side("train-00000.bin"))))
put("prepare_journal", "empty", journal([], documents=0, validation_documents=0))
put("prepare_journal", "file_beyond", journal([(3, 2, 0, 1, 0)]))
put("prepare_journal", "file_2_32", journal([(2**32, 2, 0, 1, 0)]))
put("prepare_journal", "offset_negative", journal([(0, 2, -1, 1, 0)]))
put("prepare_journal", "backwards", journal(two[::-1]))
put("prepare_journal", "more_documents", journal([(0, 2, 0, 1, 3)]))
put("prepare_journal", "records_missing", journal(two).replace(b'"documents": 2', b'"documents": 9'))
put("prepare_journal", "documents_2_62", journal(two).replace(b'"documents": 2,', b'"documents": 4611686018427387904,', 1))
put("prepare_journal", "other_checksum", journal(two, blocks_checksum=0))
put("prepare_journal", "code_point_beyond", journal(two, code_points=[0x110000]))
put("prepare_journal", "traversal", journal(two, progress=progress(side("../../train-00000.bin"))))
put("prepare_journal", "train_traversal", journal(two, progress=progress(side("train/../../x.bin"))))
put("prepare_journal", "negative_block", journal(two, progress=progress(side("train.bin"), next_block=-1)))
put("prepare_journal", "written_short", journal(two, progress=progress(side("train.bin", written=[1]))))
