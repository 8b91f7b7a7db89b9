// Files of prompts: an Error(kData), or prompts that the file holds.
//
// Input: u8, odd: lines of JSON; then the file.
#include "core/data/prompt_file.h"
#include "tests/fuzz/fuzzing.h"

TSUGI_FUZZ_TARGET(prompts) {
  using namespace tsugi;
  static const fuzzing::MemoryFile lines(".prompts.txt");
  static const fuzzing::MemoryFile objects(".prompts.jsonl");
  if (input.empty()) return;
  const bool json = (fuzzing::take(input, 1)[0] & 1) != 0;
  const fuzzing::MemoryFile& file = json ? objects : lines;
  file.put(input);
  fuzzing::refuse_or([&] {
    const std::vector<std::string> prompts = read_prompts(file.path());
    CHECK(!prompts.empty());
    for (const std::string& prompt : prompts) {
      CHECK(json || (!prompt.empty() && fuzzing::as_text(input).find(prompt) != std::string_view::npos)) << prompt;
    }
  });
}
