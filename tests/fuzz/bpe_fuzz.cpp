// Text of any bytes: it comes back from every published form of byte-level BPE; the scanners agree with the regular
// expressions that they stand for; documents may be cut at safe_cut; a vocabulary trained on it encodes it.
#include "core/data/tokenizer/bpe_trainer.h"
#include "core/data/tokenizer/regex.h"
#include "core/data/tokenizer/tokenizer.h"
#include "core/data/utf8.h"
#include "tests/fuzz/fuzzing.h"

namespace {

using namespace tsugi;

struct Form {
  SplitPattern pattern;
  std::unique_ptr<Tokenizer> tokenizer;
  Regex regex;
};

const std::vector<Form>& forms() {
  static const std::vector<Form> kForms = [] {
    std::vector<Form> all;
    for (const char* name : {"gpt2", "llama3", "o200k"}) {
      const SplitPattern pattern = *pattern_of_name(name);
      all.push_back({pattern,
                     load_tokenizer(std::string(TSUGI_SOURCE_DIR "/tests/golden/tokenizer_bpe_") + name + ".json"),
                     Regex(pattern_regex(pattern))});
    }
    return all;
  }();
  return kForms;
}

std::vector<size_t> ends(SplitPattern pattern, std::string_view text) {
  std::vector<size_t> result;
  const char* const end = text.data() + text.size();
  for (const char* p = text.data(); p < end; result.push_back(static_cast<size_t>(p - text.data()))) {
    p = piece_end(pattern, p, end);
  }
  return result;
}

}  // namespace

TSUGI_FUZZ_TARGET(bpe) {
  const std::string_view text = fuzzing::as_text(input);
  const std::string_view valid = text.substr(0, valid_utf8_prefix(text));
  for (const Form& form : forms()) {
    for (const bool special : {false, true}) {
      CHECK(form.tokenizer->decode(form.tokenizer->encode(text, {false, special})) == text);
    }
    const std::vector<size_t> expected = ends(form.pattern, valid);
    std::vector<size_t> found;
    for (const Regex::Match& match : form.regex.find_all(valid)) found.push_back(match.end);
    CHECK(found == expected) << pattern_name(form.pattern);
    if (const size_t cut = safe_cut(valid, valid.size() / 2); cut > 0) {
      std::vector<size_t> parts = ends(form.pattern, valid.substr(0, cut));
      for (const size_t end : ends(form.pattern, valid.substr(cut))) parts.push_back(cut + end);
      CHECK(parts == expected) << pattern_name(form.pattern) << " cut at " << cut;
    }
  }
  ThreadPool pool(1);
  const PieceCounter::Options pieces{SplitPattern::kO200k, text.size() % 2 == 0};
  PieceCounter counter(pool, pieces);
  counter.add(std::span(&text, 1));
  const BpeTrainingOptions options{300, {"<|endoftext|>"}, 0};
  const auto tokenizer = parse_tokenizer(bpe_tokenizer_json(train_bpe(counter, options), options, pieces), "trained");
  const std::vector<int32_t> ids = tokenizer->encode(text);
  if (!pieces.nfc) CHECK(tokenizer->decode(ids) == text);
}
