// Labelled texts as JSON lines: an Error(kData), or examples whose labels are those collected; read again with these
// labels they are the same.
#include "core/downstream/baselines.h"
#include "tests/fuzz/fuzzing.h"

TSUGI_FUZZ_TARGET(labelled) {
  using namespace tsugi;
  static const fuzzing::MemoryFile file(".labelled.jsonl");
  file.put(input);
  fuzzing::refuse_or([] {
    std::vector<std::string> labels;
    const std::vector<LabelledText> once = read_labelled_jsonl(file.path(), labels, true);
    CHECK(!once.empty() && std::is_sorted(labels.begin(), labels.end()));
    const std::vector<LabelledText> again = read_labelled_jsonl(file.path(), labels, false);
    CHECK_EQ(once.size(), again.size());
    for (size_t i = 0; i < once.size(); ++i) {
      CHECK(once[i].label >= 0 && static_cast<size_t>(once[i].label) < labels.size());
      CHECK_EQ(once[i].label, again[i].label);
    }
  });
}
