// Prompts and responses as JSON lines: an Error(kData), or examples with something to learn in each, whose tokens are
// of the vocabulary and as many as fit.
//
// Input: u8 flags (1: the tokenizer of Llama 3's form; 2: drop what is too long), then the file.
#include "core/data/instructions.h"
#include "tests/fuzz/fuzzing.h"

TSUGI_FUZZ_TARGET(instructions) {
  using namespace tsugi;
  static const fuzzing::MemoryFile file(".instructions.jsonl");
  static const std::unique_ptr<Tokenizer> kTokenizers[] = {
      load_tokenizer(TSUGI_SOURCE_DIR "/tests/golden/tokenizer_bytes.json"),
      load_tokenizer(TSUGI_SOURCE_DIR "/tests/golden/tokenizer_bpe_llama3.json")};
  if (input.empty()) return;
  const uint8_t flags = fuzzing::take(input, 1)[0];
  file.put(input);
  const Tokenizer& tokenizer = *kTokenizers[flags & 1];
  InstructionOptions options;
  options.chat = ChatTemplate::of(tokenizer);
  options.max_tokens = 200;
  if ((flags & 2) != 0) options.too_long = InstructionOptions::TooLong::kDrop;
  fuzzing::refuse_or([&] {
    const Instructions read = read_instructions({file.path()}, tokenizer, options);
    CHECK(!read.examples.empty());
    CHECK((flags & 2) == 0 || read.cut == 0);
    for (const ScoredTokens& example : read.examples) {
      CHECK_EQ(example.ids.size(), example.scored.size());
      CHECK_LE(example.ids.size(), static_cast<size_t>(options.max_tokens));
      CHECK(std::find(example.scored.begin() + 1, example.scored.end(), 1) != example.scored.end());
      for (const int32_t id : example.ids) CHECK(id >= 0 && id < tokenizer.vocabulary()) << id;
    }
  });
}
