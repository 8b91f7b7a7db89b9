// Multiple-choice questions as JSON lines: an Error(kData), or questions that can be asked.
#include "core/downstream/multiple_choice.h"
#include "tests/fuzz/fuzzing.h"

TSUGI_FUZZ_TARGET(multiple_choice) {
  using namespace tsugi;
  static const fuzzing::MemoryFile file(".questions.jsonl");
  file.put(input);
  fuzzing::refuse_or([] {
    const std::vector<MultipleChoiceQuestion> questions = read_multiple_choice_jsonl(file.path());
    CHECK(!questions.empty());
    for (const MultipleChoiceQuestion& question : questions) {
      CHECK(!question.context.empty());
      CHECK_GE(question.endings.size(), 2U);
      CHECK(question.label >= 0 && static_cast<size_t>(question.label) < question.endings.size()) << question.label;
    }
  });
}
