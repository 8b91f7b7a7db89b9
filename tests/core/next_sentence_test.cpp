// Pairs of pieces of text and what is learnt from them: which pairs there are, rows that do not depend on how they are
// asked for, and the loss and its gradients against transformers' BertForPreTraining in float64
// (tests/golden/make_next_sentence.py).
#include "core/objective/next_sentence.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <map>
#include <set>

#include "core/checkpoint/parameter_ranges.h"
#include "core/checkpoint/safetensors.h"
#include "core/config/config.h"
#include "core/data/file.h"
#include "core/model/huggingface.h"
#include "ops/base/error.h"
#include "ops/matmul/matmul.h"
#include "ops/reduce/reduce.h"

namespace tsugi {
namespace {

using ::testing::HasSubstr;

constexpr int32_t kPairCls = 1, kPairSep = 2, kPairMask = 3;
constexpr int64_t kPairDocuments = 30;
constexpr int64_t kPairVocabulary = 10 + kPairDocuments * 200;

/// Token t of document d is 10 + 200·d + t; of some of them [CLS] and [SEP] stand around the text.
int64_t length_of_document(int64_t document) { return document == 4 ? 1 : 3 + document * 37 % 150; }
int64_t document_of_token(int32_t token) { return (token - 10) / 200; }

std::string pair_tokens(int64_t documents = kPairDocuments) {
  const std::string path =
      ::testing::TempDir() + "pairs." + std::to_string(documents) + "." + std::to_string(getpid()) + ".bin";
  TokenFileWriter writer(path, kPairVocabulary);
  for (int64_t d = 0; d < documents; ++d) {
    std::vector<int32_t> document;
    if (d % 3 == 0) document.push_back(kPairCls);
    for (int64_t t = 0; t < length_of_document(d); ++t) document.push_back(static_cast<int32_t>(10 + 200 * d + t));
    if (d % 3 == 0) document.push_back(kPairSep);
    writer.add_document(document);
  }
  writer.add_document(std::vector<int32_t>{kPairCls, kPairSep});  // no text
  writer.finish();
  return path;
}

TextPairs some_pairs(TextPairs::Options options) {
  options.special = {kPairCls, kPairSep, kPairMask};
  return TextPairs(TokenFile::open(pair_tokens()), kPairVocabulary, options);
}

bool consecutive(const std::vector<int32_t>& tokens) {
  for (size_t i = 1; i < tokens.size(); ++i) {
    if (tokens[i] != tokens[i - 1] + 1) return false;
  }
  return true;
}

TEST(TextPairs, HalfOfThemFollowAndTheOthersAreOfAnotherDocument) {
  const TextPairs pairs = some_pairs({.tokens = 20, .short_share = 0.1});
  EXPECT_EQ(pairs.documents(), kPairDocuments);
  constexpr uint64_t kSamples = 4000;
  int64_t followed = 0, possible = 0;
  std::set<int64_t> others;
  for (uint64_t sample = 0; sample < kSamples; ++sample) {
    const TextPair pair = pairs.sample(sample, 5);
    ASSERT_FALSE(pair.first.empty() || pair.second.empty());
    ASSERT_LE(pair.first.size() + pair.second.size(), 20u);
    ASSERT_TRUE(consecutive(pair.first) && consecutive(pair.second));
    ASSERT_GE(std::min(pair.first.front(), pair.second.front()), 10) << "no special token";
    const int64_t document = document_of_token(pair.first.front());
    possible += length_of_document(document) > 1;
    if (pair.follows) {
      ++followed;
      EXPECT_EQ(pair.second.front(), pair.first.back() + 1);
    } else {
      EXPECT_NE(document_of_token(pair.second.front()), document);
      others.insert(document_of_token(pair.second.front()));
    }
    EXPECT_FALSE(document == 4 && pair.follows) << "nothing follows a single token";
  }
  const auto all = static_cast<double>(possible);
  EXPECT_NEAR(static_cast<double>(followed), all / 2.0, 4.0 * std::sqrt(all / 4.0));
  EXPECT_GT(others.size(), static_cast<size_t>(kPairDocuments) - 5);
}

TEST(TextPairs, EveryWindowOnceInAnEpochAndOthersInTheNext) {
  const TextPairs pairs = some_pairs({.tokens = 20});
  std::map<int64_t, int64_t> expected;
  int64_t windows = 0;
  for (int64_t d = 0; d < kPairDocuments; ++d) {
    expected[d] = std::max<int64_t>(length_of_document(d) / 20, 1);
    windows += expected[d];
  }
  ASSERT_EQ(pairs.windows(), windows);
  std::vector<std::vector<int32_t>> firsts;
  for (uint64_t epoch = 0; epoch < 2; ++epoch) {
    std::map<int64_t, int64_t> seen;
    std::vector<int32_t> order;
    for (int64_t i = 0; i < windows; ++i) {
      const TextPair pair = pairs.sample(epoch * static_cast<uint64_t>(windows) + static_cast<uint64_t>(i), 5);
      ++seen[document_of_token(pair.first.front())];
      order.push_back(pair.first.front());
      const TextPair again = pairs.sample(epoch * static_cast<uint64_t>(windows) + static_cast<uint64_t>(i), 5);
      EXPECT_TRUE(pair.first == again.first && pair.second == again.second && pair.follows == again.follows);
    }
    EXPECT_EQ(seen, expected) << epoch;
    std::set<int32_t> different(order.begin(), order.end());
    EXPECT_EQ(different.size(), order.size()) << "windows overlap";
    firsts.push_back(order);
  }
  EXPECT_NE(firsts[0], firsts[1]);
  std::ranges::sort(firsts[0]);
  std::ranges::sort(firsts[1]);
  EXPECT_NE(firsts[0], firsts[1]) << "cut at other places";
  EXPECT_NE(pairs.sample(3, 5).first, pairs.sample(3, 6).first);
}

TEST(TextPairs, PiecesBeginBehindSentencesAndLengthsTellNothing) {
  std::vector<int32_t> ends;
  for (int32_t token = 10; token < kPairVocabulary; ++token) {
    if ((token - 10) % 200 % 5 == 3) ends.push_back(token);
  }
  const TextPairs pairs = some_pairs({.tokens = 20, .ends = ends});
  std::array<double, 2> length{}, count{};
  int64_t as_wanted = 0, otherwise = 0;
  for (uint64_t sample = 0; sample < 3000; ++sample) {
    const TextPair pair = pairs.sample(sample, 1);
    const int64_t document = document_of_token(pair.first.front());
    if (length_of_document(document) < 20 || length_of_document(document_of_token(pair.second.front())) < 20) continue;
    EXPECT_TRUE(std::ranges::binary_search(ends, pair.first.back()));
    const bool whole = pair.first.size() + pair.second.size() == 20;
    ++(whole && std::ranges::binary_search(ends, pair.second.front() - 1) ? as_wanted : otherwise);
    length[pair.follows ? 1 : 0] += static_cast<double>(pair.second.size());
    count[pair.follows ? 1 : 0] += 1.0;
  }
  EXPECT_GT(as_wanted, 1000);
  EXPECT_LT(otherwise, as_wanted / 200) << "where no document has such a piece at hand";
  EXPECT_NEAR(length[0] / count[0], length[1] / count[1], 0.8);  // of about 10, 4.5 a standard deviation
}

TEST(TextPairs, DocumentsMustBeThere) {
  const auto refusal = [](const std::string& path) -> std::string {
    try {
      TextPairs(TokenFile::open(path), kPairVocabulary, {.tokens = 20, .special = {kPairCls, kPairSep}});
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kData);
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(refusal(pair_tokens(1)), HasSubstr("has 1 documents with text"));
  const std::string plain = ::testing::TempDir() + "plain." + std::to_string(getpid()) + ".bin";
  write_file_durably(plain, std::string(400, '\x09'));
  EXPECT_THAT(refusal(plain), HasSubstr("does not know its documents"));
}

Masking pair_masking() {
  return {.probability = 0.15,
          .mask_share = 0.8,
          .random_share = 0.1,
          .mask_token = kPairMask,
          .vocabulary = kPairVocabulary,
          .special = {kPairCls, kPairSep, kPairMask}};
}

NextSentence make_next_sentence(uint64_t seed = 3) {
  const TokenFile file = TokenFile::open(pair_tokens());
  return NextSentence(file, file, 24, seed, pair_masking(),
                      {.short_share = 0.3, .cls_token = kPairCls, .sep_token = kPairSep, .sentence_ends = {}});
}

std::vector<int32_t> numbers_of(const Tensor& tensor) {
  return {tensor.data<int32_t>(), tensor.data<int32_t>() + tensor.elements()};
}

/// What a row holds, places counted from its first token.
std::vector<std::vector<int32_t>> row_of_batch(const Batch& batch, int64_t row, int64_t rows) {
  const int64_t room = batch.targets.elements() / rows;
  std::vector<int32_t> places = numbers_of(batch.positions.slice(row * room, {room}));
  for (int32_t& place : places) place -= static_cast<int32_t>(row * 24);
  std::vector<std::vector<int32_t>> all{places, numbers_of(batch.answers.slice(row, {1}))};
  for (const Tensor* part : {&batch.tokens, &batch.segments, &batch.end_key}) {
    all.push_back(numbers_of(part->slice(row * 24, {24})));
  }
  for (const Tensor* part : {&batch.targets, &batch.votes}) all.push_back(numbers_of(part->slice(row * room, {room})));
  return all;
}

TEST(NextSentence, RowsAreTwoPiecesAndTheSameInWhateverBatchTheyCome) {
  const NextSentence objective = make_next_sentence();
  const Batch shape = objective.batch_shape(40, Documents::kJoined);
  const Batch batch = objective.training_batch(70, 40);
  EXPECT_EQ(objective.sequence(), 24);
  EXPECT_DOUBLE_EQ(objective.scored_share(), 3.0 / 24.0);  // .15·21 = 3.15
  const auto parts = [](const Batch& of) {
    return std::vector<Tensor>{of.tokens,       of.targets, of.positions, of.end_key, of.segments,
                               of.first_places, of.answers, of.vote_rows, of.votes};
  };
  for (size_t i = 0; i < parts(batch).size(); ++i) EXPECT_EQ(parts(shape)[i].shape(), parts(batch)[i].shape()) << i;
  int64_t padded = 0;
  for (int64_t row = 0; row < 40; ++row) {
    const Batch alone = objective.training_batch(70 + static_cast<uint64_t>(row), 1);
    EXPECT_EQ(row_of_batch(batch, row, 40), row_of_batch(alone, 0, 1));
    EXPECT_EQ(batch.first_places.data<int32_t>()[row], row * 24);
    std::vector<int32_t> tokens = numbers_of(alone.tokens);
    const std::vector<int32_t> segments = numbers_of(alone.segments);
    const int32_t used = alone.end_key.data<int32_t>()[0];
    for (const int32_t end : numbers_of(alone.end_key)) EXPECT_EQ(end, used);
    padded += used < 24;
    int64_t hidden = 0;
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(batch.vote_rows.data<int32_t>()[row * 3 + static_cast<int64_t>(i)], row);
      const int32_t target = alone.targets.data<int32_t>()[i];
      EXPECT_EQ(alone.votes.data<int32_t>()[i],
                target == kIgnoreIndex ? kIgnoreIndex : alone.answers.data<int32_t>()[0]);
      if (target == kIgnoreIndex) continue;
      ++hidden;
      const auto place = static_cast<size_t>(alone.positions.data<int32_t>()[i]);
      ASSERT_LT(place, static_cast<size_t>(used));
      EXPECT_GE(target, 10) << "a special token was chosen";
      tokens[place] = target;
    }
    EXPECT_EQ(hidden, std::max<int64_t>(std::lround(0.15 * (used - 3)), 1));
    // Restored, it is the pair.
    ASSERT_EQ(tokens[0], kPairCls);
    ASSERT_EQ(tokens[static_cast<size_t>(used) - 1], kPairSep);
    const auto middle = static_cast<int32_t>(std::ranges::find(tokens, kPairSep) - tokens.begin());
    for (int32_t t = 0; t < 24; ++t) {
      EXPECT_EQ(segments[static_cast<size_t>(t)], t > middle && t < used ? 1 : 0);
      EXPECT_TRUE(t < used || tokens[static_cast<size_t>(t)] == 0);
    }
    const bool follows = tokens[static_cast<size_t>(middle) + 1] == tokens[static_cast<size_t>(middle) - 1] + 1;
    EXPECT_EQ(alone.answers.data<int32_t>()[0], follows ? 0 : 1);
  }
  EXPECT_GT(padded, 3) << "the test saw no padding";
}

TEST(NextSentence, ValidationIsTheSameWhateverTheSeedAndTheBatch) {
  const NextSentence one = make_next_sentence(1);
  const NextSentence other = make_next_sentence(2);
  const Batch batch = one.validation_batch(1, 4, 0);
  EXPECT_EQ(numbers_of(batch.tokens), numbers_of(other.validation_batch(1, 4, 0).tokens));
  EXPECT_EQ(row_of_batch(batch, 1, 4), row_of_batch(one.validation_batch(5, 1, 0), 0, 1));
  EXPECT_NE(numbers_of(one.training_batch(0, 4).tokens), numbers_of(other.training_batch(0, 4).tokens));
  EXPECT_EQ(one.validation_batches(4, 6), 2);
  const Batch last = one.validation_batch(1, 4, 6);
  EXPECT_EQ(numbers_of(last.answers.slice(2, {2})), (std::vector<int32_t>{kIgnoreIndex, kIgnoreIndex}));
  for (int64_t i = 6; i < 12; ++i) EXPECT_EQ(last.targets.data<int32_t>()[i], kIgnoreIndex);
}

/// A BertForPreTraining with the golden weights and batch.
class GoldenPairs {
 public:
  GoldenPairs()
      : text_(read_file(golden_path("safetensors"), 1 << 20)),
        header_(parse_safetensors(text_, static_cast<int64_t>(text_.size()), "golden")),
        description(parse_huggingface_config(read_file(golden_path("json"), 1 << 16), "golden")),
        context(Device{}, pool_, memory_),
        model(description.model, store) {
    store.allocate(context, DType::kF32);
    fill_zero(context, store.working());
    const std::vector<SavedTensor> tensors = saved_tensors(store);
    for (const StateRange& range : whole_tensors(store)) {
      const std::vector<float> from = values<float>(tensors[static_cast<size_t>(range.tensor)].name);
      EXPECT_EQ(static_cast<int64_t>(from.size()), range.length);
      std::ranges::copy(from, range.master);
    }
    // As many places for each row as the row with most targets has.
    const Masking masking{.probability = 4.0 / 9.0, .mask_token = 0, .vocabulary = 29, .special = {}};
    batch = empty_next_sentence_batch(3, 12, masking);
    const auto fill = [&](const char* name, const Tensor& to) {
      const std::vector<int32_t> from = values<int32_t>(name);
      ASSERT_EQ(static_cast<int64_t>(from.size()), to.elements());
      std::ranges::copy(from, to.data<int32_t>());
    };
    fill("tokens", batch.tokens);
    fill("segments", batch.segments);
    fill("answers", batch.answers);
    const std::vector<int32_t> targets = values<int32_t>("targets");
    for (int32_t row = 0; row < 3; ++row) {
      std::fill_n(batch.end_key.data<int32_t>() + row * 12, 12, values<int32_t>("lengths")[static_cast<size_t>(row)]);
      int32_t next = row * 4;
      for (int32_t place = row * 12; place < (row + 1) * 12; ++place) {
        if (targets[static_cast<size_t>(place)] < 0) continue;
        batch.positions.data<int32_t>()[next] = place;
        batch.targets.data<int32_t>()[next] = targets[static_cast<size_t>(place)];
        batch.votes.data<int32_t>()[next++] = batch.answers.data<int32_t>()[row];
      }
    }
  }

  template <class T>
  std::vector<T> values(const std::string& name) const {
    const SafetensorsTensor& tensor = header_.tensors.at(name);
    std::vector<T> result(static_cast<size_t>(tensor.elements));
    EXPECT_EQ(result.size() * sizeof(T), static_cast<size_t>(tensor.end - tensor.begin));
    std::memcpy(result.data(), text_.data() + tensor.begin, result.size() * sizeof(T));
    return result;
  }

 private:
  static std::string golden_path(const std::string& ending) {
    return std::string(TSUGI_SOURCE_DIR) + "/tests/golden/next_sentence." + ending;
  }

  std::string text_;
  SafetensorsHeader header_;
  HeapMemory memory_;
  ThreadPool pool_{2};

 public:
  HuggingfaceModel description;
  Context context;
  ParameterStore store;
  Transformer model;
  Batch batch;
};

TEST(NextSentence, ScoresOfBothHeadsAreTransformers) {
  GoldenPairs golden;
  EXPECT_TRUE(golden.description.model.pooler() && golden.description.model.next_sentence_head());
  EXPECT_THAT(to_huggingface_config(golden.description), HasSubstr("BertForPreTraining"));
  Tape tape(golden.context, false);
  ForwardOptions options;
  options.segments = golden.batch.segments;
  options.end_key = golden.batch.end_key;
  const Variable hidden = golden.model.hidden(tape, golden.batch.tokens, options);
  const Tensor logits = golden.model.logits(golden.context, as_matrix(hidden.value));
  const std::vector<float> theirs = golden.values<float>("prediction_logits");
  for (int64_t place = 0; place < 36; ++place) {
    if (place % 12 >= golden.batch.end_key.data<int32_t>()[place]) continue;  // padding's are nobody's
    for (int64_t id = 0; id < 29; ++id) {
      ASSERT_NEAR(logits.data<float>()[place * logits.shape()[1] + id], theirs[static_cast<size_t>(place * 29 + id)],
                  2e-5);
    }
  }
  const Variable pooled = golden.model.pooler_output(tape, select_rows(tape, hidden, golden.batch.first_places));
  const Tensor weight = golden.model.next_sentence_weight().value();
  const Tensor scores = golden.context.empty({3, weight.shape()[0]}, DType::kF32);
  matmul(golden.context, pooled.value, weight, scores,
         {.transpose_b = true, .bias = golden.model.next_sentence_bias().value()});
  const std::vector<float> expected = golden.values<float>("seq_relationship_logits");
  for (int64_t i = 0; i < 6; ++i) {
    EXPECT_NEAR(scores.data<float>()[i / 2 * scores.shape()[1] + i % 2], expected[static_cast<size_t>(i)], 1e-5) << i;
  }
}

TEST(NextSentence, LossAndEveryGradientAreTransformers) {
  GoldenPairs golden;
  const Tensor gradients = golden.context.empty({golden.store.chunks() * kChunkElements}, DType::kF32);
  fill_zero(golden.context, gradients);
  golden.store.bind_gradients(gradients);
  Tape tape(golden.context);
  const LossSum loss = next_sentence_loss(tape, golden.model, golden.batch, {});
  tape.backward();
  EXPECT_EQ(loss.count, 10);
  EXPECT_NEAR(loss.sum / 10.0, golden.values<float>("loss")[0], 2e-6);
  for (size_t t = 0; t < golden.store.tensors().size(); ++t) {
    const float* actual = golden.store.gradient(static_cast<int>(t)).data<float>();
    for (const ParameterPart& part : golden.store.tensors()[t].parts) {
      const std::vector<float> expected = golden.values<float>("gradient/" + part.name);
      double largest = 0.1;
      for (const float value : expected) largest = std::max(largest, 10.0 * std::fabs(static_cast<double>(value)));
      for (size_t i = 0; i < expected.size(); ++i) {
        ASSERT_NEAR(actual[i], 10.0 * static_cast<double>(expected[i]), 3e-5 * largest) << part.name << i;
      }
      actual += expected.size();
    }
  }
}

std::string pair_refusal(const std::string& text) {
  RunConfig config;
  parse_config(
      "steps: 1 batch { micro_batch: 1 } optimizer { learning_rate: 1 } objective { masked_lm { next_sentence: "
      "true } } " +
          text,
      "test", {}, config);
  try {
    validate_run(config);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    return error.what();
  }
  return "";
}

TEST(NextSentence, WrongCombinationsAreRefused) {
  const std::string size = " layers: 1 heads: 1 width: 8 context: 8 vocabulary: 9 ";
  const std::string heads = " family: BERT pooler: true next_sentence_head: true } ";
  const std::string data = " data { train: \"x\" ";
  EXPECT_EQ(pair_refusal("model {" + size + heads + data + "}"), "");
  EXPECT_THAT(pair_refusal("model { family: BERT" + size + "}" + data + "}"), HasSubstr("model.pooler: true"));
  EXPECT_THAT(pair_refusal("model { family: ROBERTA" + size + "}" + data + "}"), HasSubstr("model.family: BERT"));
  EXPECT_THAT(pair_refusal("model { family: BERT next_sentence_head: true" + size + "}" + data + "}"),
              HasSubstr("set model.pooler: true"));
  EXPECT_THAT(pair_refusal("model { layers: 1 heads: 1 width: 8 context: 4 vocabulary: 9" + heads + data + "}"),
              HasSubstr("no room"));
  EXPECT_THAT(pair_refusal("model { segments: 1" + size + heads + data + "}"), HasSubstr("model.segments"));
  EXPECT_THAT(pair_refusal("model {" + size + heads + data + " packing: BEST_FIT }"), HasSubstr("data.packing"));
  EXPECT_THAT(pair_refusal("model {" + size + heads + " data { mixture { path: \"x\" weight: 1 } }"),
              HasSubstr("data.mixture"));
}

}  // namespace
}  // namespace tsugi
