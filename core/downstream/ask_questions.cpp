// Apart from the reading of questions, which stands without a model.
#include "core/downstream/multiple_choice.h"

namespace tsugi {

MultipleChoiceScore ask_questions(Communicator& communicator, const Context& context, const Transformer& model,
                                  const Tokenizer& tokenizer, const std::vector<MultipleChoiceQuestion>& questions,
                                  int64_t rows) {
  const std::vector<ScoredSequence> sequences = encode_questions(tokenizer, questions);
  return judge_choices(questions, sequences, score_sequences(communicator, context, model, sequences, rows));
}

}  // namespace tsugi
