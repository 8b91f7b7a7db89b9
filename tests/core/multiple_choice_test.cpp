#include "core/downstream/multiple_choice.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <numeric>
#include <optional>

#include "core/autograd/functions.h"
#include "core/config/config.h"
#include "core/optim/sharded_adamw.h"
#include "ops/matmul/matmul.h"
#include "tests/dist/thread_communicator.h"

namespace tsugi::testing {
namespace {

constexpr int64_t kByteVocabulary = 256;

/// A small random GPT-2.
struct Model {
  ThreadPool pool;
  HeapMemory memory;
  Context context;
  ParameterStore store;
  std::optional<Transformer> transformer;

  explicit Model(int threads = 1, int context_length = 48) : pool(threads), context(Device{}, pool, memory) {
    RunConfig config;
    parse_config(
        "steps: 1 model { layers: 2 heads: 2 width: 32 context: " + std::to_string(context_length) +
            " vocabulary: 256 } data { train: \"none\" } batch { micro_batch: 1 } optimizer { learning_rate: 1 }",
        "test", {}, config);
    transformer.emplace(config.model(), store);
    store.allocate(context, DType::kF32);
    ShardedAdamW(context, store, ShardLayout({store.chunks()}, 1), 0, 0.0f).initialize(5);
    // Larger than the usual initial values, so that the probabilities are far from uniform.
    float* values = store.working().data<float>();
    for (int64_t i = 0; i < store.working().elements(); ++i) values[i] *= 8.0f;
  }

  /// Σ log p of tokens[begin …] with whole sequences, one token at a time, softmax in double.
  double score(const std::vector<int32_t>& tokens, int64_t begin) const {
    const auto count = static_cast<int64_t>(tokens.size()) - 1;
    const Tensor input = context.empty({1, count}, DType::kI32);
    std::copy_n(tokens.begin(), count, input.data<int32_t>());
    Tape tape(context, false);
    const Tensor hidden = transformer->hidden(tape, input, ForwardOptions{}).value;
    const Tensor weight = transformer->token_embedding().value();
    const Tensor logits = context.empty({count, weight.shape()[0]}, DType::kF32);
    matmul(context, hidden.reshape({count, hidden.shape()[2]}), weight, logits, {.transpose_b = true});
    double sum = 0.0;
    for (int64_t t = begin; t <= count; ++t) {
      const float* row = logits.data<float>() + (t - 1) * weight.shape()[0];
      double total = 0.0;
      for (int64_t v = 0; v < kByteVocabulary; ++v) total += std::exp(static_cast<double>(row[v]));
      sum += static_cast<double>(row[tokens[static_cast<size_t>(t)]]) - std::log(total);
    }
    return sum;
  }
};

/// Sequences of awkward lengths.
std::vector<ScoredSequence> sequences() {
  std::vector<ScoredSequence> all;
  for (int i = 0; i < 11; ++i) {
    ScoredSequence one;
    for (int t = 0; t < 3 + 7 * ((5 * i) % 7); ++t) one.tokens.push_back((31 * i + 17 * t * t + t) % 256);
    one.begin = 1 + i % 2;
    all.push_back(one);
  }
  return all;
}

TEST(ScoreSequences, EqualsScoringEachAlone) {
  Model model;
  const std::vector<ScoredSequence> all = sequences();
  const auto alone = make_local_communicator();
  const std::vector<double> scores = score_sequences(*alone, model.context, *model.transformer, all, 4);
  ASSERT_EQ(scores.size(), all.size());
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_NEAR(scores[i], model.score(all[i].tokens, all[i].begin), 1e-4 * std::abs(scores[i])) << i;
  }
}

TEST(ScoreSequences, IsTheSameOnAnyNumberOfRanksAndThreads) {
  const std::vector<ScoredSequence> all = sequences();
  Model one;
  const auto alone = make_local_communicator();
  const std::vector<double> expected = score_sequences(*alone, one.context, *one.transformer, all, 3);
  for (const int ranks : {2, 3, 5}) {
    run_ranks(ranks, [&](Communicator& communicator) {
      Model model(2);
      EXPECT_EQ(score_sequences(communicator, model.context, *model.transformer, all, 3), expected);
    });
  }
}

TEST(ScoreSequences, DropsTheStartOfWhatIsLongerThanTheContext) {
  Model model(1, 16);
  std::vector<int32_t> tokens(40);
  std::iota(tokens.begin(), tokens.end(), 60);
  const auto alone = make_local_communicator();
  const std::vector<ScoredSequence> whole = {{tokens, 35}};
  const std::vector<int32_t> end(tokens.end() - 17, tokens.end());
  EXPECT_NEAR(score_sequences(*alone, model.context, *model.transformer, whole, 1)[0], model.score(end, 12), 1e-4);
  const std::vector<ScoredSequence> too_long = {{{1, 2}, 1}, {tokens, 23}};
  try {
    score_sequences(*alone, model.context, *model.transformer, too_long, 1);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("sequence 1 has 17 tokens"), std::string::npos) << error.what();
  }
}

class Questions : public ::testing::Test {
 protected:
  std::string write(const std::string& text) {
    std::ofstream(path_) << text;
    return path_;
  }
  ~Questions() override { std::remove(path_.c_str()); }
  std::string path_ = ::testing::TempDir() + "questions.jsonl";
};

TEST_F(Questions, AreReadAndCutIntoSequences) {
  const auto questions =
      read_multiple_choice_jsonl(write("{\"ctx\": \"ab\", \"endings\": [\"c\", \"de\"], \"label\": 1, \"ind\": 4}\n\n"
                                       "{\"ctx\": \"x\", \"endings\": [\"y\", \"z\", \"w\"], \"label\": \"0\"}\n"));
  ASSERT_EQ(questions.size(), 2U);
  EXPECT_EQ(questions[0].label, 1);
  EXPECT_EQ(questions[1].label, 0);
  const auto all = encode_questions(*make_byte_tokenizer(), questions);
  ASSERT_EQ(all.size(), 5U);
  EXPECT_EQ(all[1].tokens, (std::vector<int32_t>{'a', 'b', ' ', 'd', 'e'}));
  EXPECT_EQ(all[1].begin, 2);
}

TEST_F(Questions, AreJudgedByTheThreeRules) {
  // Endings of 2 and 5 bytes, with the space 3 and 6 tokens: the second wins per byte only at -6 : -14.
  const auto questions =
      read_multiple_choice_jsonl(write("{\"ctx\": \"q\", \"endings\": [\"ab\", \"abcde\"], \"label\": 1}\n"));
  const auto all = encode_questions(*make_byte_tokenizer(), questions);
  MultipleChoiceScore score = judge_choices(questions, all, {-6.0, -14.0});
  EXPECT_EQ(score.accuracy, 0.0);
  EXPECT_EQ(score.accuracy_per_token, 0.0);
  EXPECT_EQ(score.accuracy_per_byte, 1.0);
  EXPECT_EQ(score.chance, 0.5);
  score = judge_choices(questions, all, {-6.0, -11.0});
  EXPECT_EQ(score.accuracy, 0.0);
  EXPECT_EQ(score.accuracy_per_token, 1.0);
  score = judge_choices(questions, all, {-6.0, -5.0});
  EXPECT_EQ(score.accuracy, 1.0);
}

TEST_F(Questions, ThatAreWrongAreNamed) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "no questions"},
      {"{\"ctx\": \"a\", \"endings\": [\"b\", \"c\"], \"label\": 2}", ":1: field label: is not the index"},
      {"\n{\"ctx\": \"a\", \"endings\": [\"b\", \"c\"], \"label\": \"1x\"}", ":2: field label"},
      {"{\"ctx\": \"a\", \"endings\": [\"b\"], \"label\": 0}", "field endings: has 1 elements"},
      {"{\"ctx\": \"a\", \"endings\": [\"b\", \"\"], \"label\": 0}", "field endings[1]: is empty"},
      {"{\"ctx\": \"\", \"endings\": [\"b\", \"c\"], \"label\": 0}", "field ctx: is empty"},
      {"{\"endings\": [\"b\", \"c\"], \"label\": 0}", "ctx"},
  };
  for (const auto& [text, reason] : cases) {
    try {
      read_multiple_choice_jsonl(write(text));
      ADD_FAILURE() << "no error for " << text;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(reason), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace tsugi::testing
