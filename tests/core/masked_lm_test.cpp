// Masking: how many, which, what they become; batches that do not depend on how they are asked for.
#include "core/objective/masked_lm.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <set>

#include "core/config/config.h"
#include "ops/base/error.h"
#include "ops/cross_entropy/cross_entropy.h"

namespace tsugi {
namespace {

constexpr int64_t kMaskedVocabulary = 50;
constexpr int32_t kMaskId = 49;

Masking some_masking(double probability = 0.15) {
  return {.probability = probability,
          .mask_share = 0.8,
          .random_share = 0.1,
          .mask_token = kMaskId,
          .vocabulary = kMaskedVocabulary,
          .special = {0, kMaskId}};
}

struct MaskedRow {
  std::vector<int32_t> tokens, places, originals;
};

MaskedRow mask_row(const Masking& masking, std::vector<int32_t> tokens, uint64_t seed, uint64_t sample) {
  MaskedRow row{std::move(tokens), {}, {}};
  row.places.resize(row.tokens.size());
  row.originals.resize(row.tokens.size());
  const int64_t count =
      mask_tokens(masking, {seed, sample, 1}, {seed, sample, 2}, row.tokens, row.places, row.originals);
  row.places.resize(static_cast<size_t>(count));
  row.originals.resize(static_cast<size_t>(count));
  return row;
}

std::vector<int32_t> plain_tokens(size_t count) {
  std::vector<int32_t> tokens;
  for (size_t i = 0; i < count; ++i) tokens.push_back(static_cast<int32_t>(1 + i % 40));
  return tokens;
}

TEST(Masking, CountsAreRoundedAndNeverNone) {
  const Masking masking = some_masking();
  EXPECT_EQ(masking.count(0), 0);
  EXPECT_EQ(masking.count(1), 1);
  EXPECT_EQ(masking.count(3), 1);
  EXPECT_EQ(masking.count(10), 2);  // 1.5
  EXPECT_EQ(masking.count(128), 19);
  EXPECT_EQ(some_masking(1.0).count(7), 7);
}

TEST(Masking, SharesAreThoseOfTheRule) {
  const Masking masking = some_masking();
  int64_t chosen = 0, hidden = 0, changed = 0, kept = 0;
  std::vector<int64_t> at_place(100), random_tokens(kMaskedVocabulary);
  for (uint64_t sample = 0; sample < 2000; ++sample) {
    const std::vector<int32_t> before = plain_tokens(100);
    const MaskedRow row = mask_row(masking, before, 9, sample);
    ASSERT_EQ(row.places.size(), 15u);
    EXPECT_TRUE(std::ranges::is_sorted(row.places));
    EXPECT_EQ(std::set<int32_t>(row.places.begin(), row.places.end()).size(), 15u);
    std::vector<int32_t> restored = row.tokens;
    for (size_t i = 0; i < row.places.size(); ++i) {
      const auto place = static_cast<size_t>(row.places[i]);
      EXPECT_EQ(row.originals[i], before[place]);
      ++at_place[place];
      ++chosen;
      if (row.tokens[place] == kMaskId) {
        ++hidden;
      } else if (row.tokens[place] == before[place]) {
        ++kept;
      } else {
        ++changed;
        ++random_tokens[static_cast<size_t>(row.tokens[place])];
      }
      restored[place] = row.originals[i];
    }
    EXPECT_EQ(restored, before) << "nothing else is touched";
  }
  const auto within = [&](int64_t count, double share) {
    const auto all = static_cast<double>(chosen);
    EXPECT_NEAR(static_cast<double>(count), share * all, 4.0 * std::sqrt(all * share * (1.0 - share)));
  };
  // A random token may be the mask token, or the one that stood there.
  within(hidden, 0.8 + 0.1 / kMaskedVocabulary);
  within(kept, 0.1 + 0.1 / kMaskedVocabulary);
  within(changed, 0.1 * (kMaskedVocabulary - 2) / kMaskedVocabulary);
  for (const int64_t count : at_place) EXPECT_NEAR(static_cast<double>(count), 300.0, 4.0 * std::sqrt(300.0 * 0.85));
  for (int32_t id = 0; id < kMaskId; ++id) {
    const double expected = static_cast<double>(changed) / (kMaskedVocabulary - 2);
    EXPECT_NEAR(static_cast<double>(random_tokens[static_cast<size_t>(id)]), expected, 6.0 * std::sqrt(expected)) << id;
  }
}

TEST(Masking, SpecialTokensAreNeverChosenAndEpochsDiffer) {
  const Masking masking = some_masking(0.5);
  std::vector<int32_t> tokens = plain_tokens(20);
  for (const size_t t : {0u, 7u, 19u}) tokens[t] = 0;
  std::set<std::vector<int32_t>> seen;
  for (uint64_t sample = 0; sample < 50; ++sample) {
    const MaskedRow row = mask_row(masking, tokens, 1, sample);
    EXPECT_EQ(row.places.size(), 9u);  // of 17
    for (const int32_t place : row.places) EXPECT_TRUE(place != 0 && place != 7 && place != 19);
    EXPECT_EQ(row.places, mask_row(masking, tokens, 1, sample).places);
    EXPECT_EQ(row.tokens, mask_row(masking, tokens, 1, sample).tokens);
    seen.insert(row.places);
  }
  EXPECT_GT(seen.size(), 45u) << "every sample has its own";
  EXPECT_NE(mask_row(masking, tokens, 1, 0).places, mask_row(masking, tokens, 2, 0).places);
  EXPECT_TRUE(mask_row(masking, {0, 0}, 1, 0).places.empty());
}

/// Documents of 5 to 12 tokens; token 48 begins each.
std::string masked_tokens() {
  const std::string path = ::testing::TempDir() + "masked." + std::to_string(getpid()) + ".bin";
  TokenFileWriter writer(path, kMaskedVocabulary);
  for (int i = 0; i < 300; ++i) {
    std::vector<int32_t> document{48};
    for (int t = 0; t < 4 + i * 7 % 8; ++t) document.push_back(1 + (i * i + 5 * t) % 40);
    writer.add_document(document);
  }
  writer.finish();
  return path;
}

MaskedLm make_masked(Packing packing, Documents documents, uint64_t seed = 3) {
  LanguageData data;
  const std::string path = masked_tokens();
  data.train.push_back({TokenFile::open(path), 1.0});
  data.validation = TokenFile::open(path);
  data.packing = packing;
  data.documents = documents;
  return MaskedLm(std::move(data), 16, seed, some_masking());
}

std::vector<int32_t> integers_of(const Tensor& tensor) {
  return {tensor.data<int32_t>(), tensor.data<int32_t>() + tensor.elements()};
}

TEST(MaskedLm, ARowIsTheSameInWhateverBatchItComes) {
  for (const Packing packing : {Packing::kContinuous, Packing::kBestFit}) {
    for (const Documents documents : {Documents::kJoined, Documents::kApart}) {
      const MaskedLm objective = make_masked(packing, documents);
      const Batch all = objective.training_batch(40, 6);
      const Batch shape = objective.batch_shape(6, documents);
      EXPECT_EQ(all.targets.shape(), shape.targets.shape());
      EXPECT_EQ(all.positions.shape(), shape.positions.shape());
      EXPECT_EQ(all.end_key.defined(), shape.end_key.defined());
      const int64_t room = all.targets.elements() / 6;
      EXPECT_EQ(room, 2);  // .15·16 = 2.4
      for (int64_t row = 0; row < 6; ++row) {
        const Batch one = objective.training_batch(40 + static_cast<uint64_t>(row), 1);
        EXPECT_EQ(integers_of(one.tokens), integers_of(all.tokens.slice(row * 16, {1, 16})));
        EXPECT_EQ(integers_of(one.targets), integers_of(all.targets.slice(row * room, {room})));
        std::vector<int32_t> places = integers_of(one.positions);
        for (int32_t& place : places) place += static_cast<int32_t>(row * 16);
        EXPECT_EQ(places, integers_of(all.positions.slice(row * room, {room})));
      }
    }
  }
}

TEST(MaskedLm, ValidationHidesTheSameWhateverTheSeedAndTheBatch) {
  const MaskedLm one = make_masked(Packing::kContinuous, Documents::kJoined, 1);
  const MaskedLm other = make_masked(Packing::kContinuous, Documents::kJoined, 2);
  const Batch batch = one.validation_batch(1, 4, 0);
  EXPECT_EQ(integers_of(batch.tokens), integers_of(other.validation_batch(1, 4, 0).tokens));
  EXPECT_EQ(integers_of(batch.tokens.slice(16, {1, 16})), integers_of(one.validation_batch(5, 1, 0).tokens));
  EXPECT_NE(integers_of(one.training_batch(0, 4).tokens), integers_of(other.training_batch(0, 4).tokens));
}

TEST(MaskedLm, TokensOfADocumentSeeAllOfItAndNothingElse) {
  for (const Packing packing : {Packing::kContinuous, Packing::kBestFit}) {
    const MaskedLm objective = make_masked(packing, Documents::kApart);
    for (uint64_t sample = 0; sample < 40; ++sample) {
      const Batch batch = objective.training_batch(sample, 1);
      std::vector<int32_t> tokens = integers_of(batch.tokens);
      const std::vector<int32_t> places = integers_of(batch.positions);
      const std::vector<int32_t> targets = integers_of(batch.targets);
      for (size_t i = 0; i < places.size(); ++i) {
        if (targets[i] != kIgnoreIndex) tokens[static_cast<size_t>(places[i])] = targets[i];
      }
      const int32_t* const first = batch.first_key.data<int32_t>();
      const int32_t* const end = batch.end_key.data<int32_t>();
      for (int32_t t = 0; t < 16; ++t) {
        ASSERT_TRUE(first[t] <= t && t < end[t] && end[t] <= 16) << sample << " " << t;
        const bool padding = tokens[static_cast<size_t>(t)] == 0;
        if (padding) {
          EXPECT_TRUE(first[t] == t && end[t] == t + 1);
          continue;
        }
        // A document goes from one 48 to before the next, or to the padding.
        for (int32_t seen = first[t] + 1; seen < end[t]; ++seen) EXPECT_NE(tokens[static_cast<size_t>(seen)], 48);
        if (first[t] > 0) {
          EXPECT_EQ(tokens[static_cast<size_t>(first[t])], 48);
        }
        if (end[t] < 16) {
          const int32_t behind = tokens[static_cast<size_t>(end[t])];
          EXPECT_TRUE(behind == 48 || behind == 0) << behind;
        }
      }
    }
  }
}

TEST(MaskedLm, PaddingIsNeverChosen) {
  const MaskedLm objective = make_masked(Packing::kBestFit, Documents::kJoined);
  int padded = 0;
  for (uint64_t sample = 0; sample < 60; ++sample) {
    const Batch batch = objective.training_batch(sample, 1);
    const int32_t used = batch.end_key.data<int32_t>()[0];
    padded += used < 16;
    const std::vector<int32_t> targets = integers_of(batch.targets);
    for (size_t i = 0; i < targets.size(); ++i) {
      if (targets[i] == kIgnoreIndex) continue;
      EXPECT_LT(batch.positions.data<int32_t>()[i], used);
      EXPECT_NE(targets[i], 0);
    }
  }
  EXPECT_GT(padded, 0) << "the test saw no padding";
}

std::string masking_refusal(const std::string& text) {
  RunConfig config;
  parse_config("steps: 1 batch { micro_batch: 1 } optimizer { learning_rate: 1 } data { train: \"x\" } " + text, "test",
               {}, config);
  try {
    validate_run(config);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    return error.what();
  }
  return "";
}

TEST(MaskedLm, WrongCombinationsAreRefused) {
  const std::string size = " layers: 1 heads: 1 width: 8 context: 8 vocabulary: 9 } ";
  EXPECT_EQ(masking_refusal("objective { masked_lm {} } model { family: BERT" + size), "");
  EXPECT_EQ(masking_refusal("objective { masked_lm {} } model { family: LLAMA bidirectional: true" + size), "");
  EXPECT_NE(masking_refusal("model { family: BERT" + size).find("objective.causal_lm"), std::string::npos);
  EXPECT_NE(
      masking_refusal("objective { causal_lm {} } model { family: LLAMA bidirectional: true" + size).find("causal_lm"),
      std::string::npos);
  EXPECT_NE(masking_refusal("objective { masked_lm {} } model {" + size).find("model.bidirectional is false"),
            std::string::npos);
  EXPECT_NE(masking_refusal("objective { masked_lm { mask_share: 0.9 random_share: 0.2 } } model { family: BERT" + size)
                .find("more than 1"),
            std::string::npos);
  EXPECT_NE(masking_refusal("objective { masked_lm {} } model { family: BERT head_transform: false" + size)
                .find("head_transform"),
            std::string::npos);
}

}  // namespace
}  // namespace tsugi
