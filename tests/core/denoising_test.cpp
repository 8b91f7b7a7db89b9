// Denoising: lengths, masks, what inputs and targets are made of, texts restored, batches that do not depend on how
// they are asked for.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <numeric>
#include <set>

#include "core/config/config.h"
#include "core/config/limits.h"
#include "core/objective/denoising_lm.h"
#include "core/objective/sequence_to_sequence.h"
#include "ops/base/error.h"
#include "ops/cross_entropy/cross_entropy.h"

namespace tsugi {
namespace {

constexpr int32_t kEnd = 998;
constexpr int32_t kFirstSentinel = 997;
constexpr int32_t kMode = 999;
constexpr int32_t kMaskOfDenoising = 796;

Denoiser denoiser(const std::string& text = "") {
  Denoiser rule;
  if (!google::protobuf::TextFormat::ParseFromString(text, &rule)) ADD_FAILURE() << text;
  apply_presets(rule);
  return rule;
}

std::vector<int32_t> descending_sentinels(int64_t count) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i) ids.push_back(static_cast<int32_t>(kFirstSentinel - i));
  return ids;
}

DenoisingRules rules_from(const std::vector<Denoiser>& rules, int64_t sequence) {
  DenoisingRules result;
  for (const Denoiser& rule : rules) result.rules.push_back({rule});
  result.sentinels = descending_sentinels(sentinels_of_denoising(result.rules, sequence));
  result.end_token = kEnd;
  return result;
}

// Published: t5/data/preprocessors_test.py, test_random_spans_helper; (512, .15, 3) is T5's own pretraining.
TEST(Denoising, LengthsAreThoseOfTheHelper) {
  const auto lengths = [](int64_t inputs, const std::string& density, const std::string& span) {
    const DenoisingRule rule{denoiser("density: " + density + " mean_span: " + span)};
    const int64_t text = rule.text_length(inputs);
    EXPECT_EQ(rule.input_length(text), inputs) << "the input is full";
    return std::pair(text, rule.target_length(text));
  };
  EXPECT_EQ(lengths(64, "0.2", "2"), std::pair(int64_t{70}, int64_t{22}));
  EXPECT_EQ(lengths(64, "0.2", "1"), std::pair(int64_t{63}, int64_t{27}));
  EXPECT_EQ(lengths(512, "0.15", "3"), std::pair(int64_t{568}, int64_t{114}));
}

TEST(Denoising, TokensOfThePublishedExample) {
  const std::vector<int32_t> tokens{10, 11, 12, 13, 14, 15};
  const NoiseMask mask{1, 1, 0, 0, 1, 0};
  const std::vector<int32_t> sentinels{999, 998, 997};
  using Ids = std::vector<int32_t>;
  EXPECT_EQ(runs_to_sentinels(tokens, mask, sentinels), (Ids{999, 12, 13, 998, 15}));
  EXPECT_EQ(runs_to_sentinels(tokens, inverted(mask), sentinels), (Ids{10, 11, 999, 14, 998}));
  EXPECT_EQ(marked_to_mask(tokens, mask, 5), (Ids{5, 5, 12, 13, 5, 15}));
  EXPECT_EQ(without_marked(tokens, mask), (Ids{12, 13, 15}));
  EXPECT_EQ(without_marked(tokens, inverted(mask)), (Ids{10, 11, 14}));
}

/// A text from an input and a target: where the input has a sentinel stands what the target has behind the same one,
/// and what stands before its first sentinel comes first.
std::vector<int32_t> interleaved(const TokenPair& pair, const std::vector<int32_t>& sentinels) {
  const auto is_sentinel = [&](int32_t id) { return std::ranges::find(sentinels, id) != sentinels.end(); };
  const auto runs = [&](const std::vector<int32_t>& ids) {
    std::vector<std::vector<int32_t>> result;
    bool open = false;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {  // all but the end
      if (is_sentinel(ids[i])) {
        open = false;
        continue;
      }
      if (!open) result.emplace_back();
      open = true;
      result.back().push_back(ids[i]);
    }
    return result;
  };
  const std::vector<std::vector<int32_t>> kept = runs(pair.input);
  const std::vector<std::vector<int32_t>> noise = runs(pair.target);
  const bool noise_first = is_sentinel(pair.input.front());
  std::vector<int32_t> text;
  for (size_t i = 0; i < std::max(kept.size(), noise.size()); ++i) {
    for (const bool of_noise : {noise_first, !noise_first}) {
      const auto& from = of_noise ? noise : kept;
      if (i < from.size()) text.insert(text.end(), from[i].begin(), from[i].end());
    }
  }
  return text;
}

TEST(Denoising, InterleavingInputAndTargetRestoresTheText) {
  for (const char* text : {"", "density: 0.5 mean_span: 8", "noise: TOKENS density: 0.3", "noise: SUFFIX"}) {
    const int64_t sequence = 64;
    const DenoisingRules rules = rules_from({denoiser(text)}, sequence);
    const DenoisingRule& rule = rules.rules[0];
    const int64_t length = rule.text_length(sequence);
    std::set<std::vector<int32_t>> inputs;
    for (uint64_t sample = 0; sample < 200; ++sample) {
      std::vector<int32_t> tokens(static_cast<size_t>(length));
      for (size_t t = 0; t < tokens.size(); ++t) tokens[t] = static_cast<int32_t>((t * 7 + sample) % 500);
      const TokenPair pair = denoise(rules, rule, tokens, {4, sample, 2});
      EXPECT_EQ(interleaved(pair, rules.sentinels), tokens) << text;
      EXPECT_EQ(pair.input.back(), kEnd);
      EXPECT_EQ(pair.target.back(), kEnd);
      EXPECT_LE(static_cast<int64_t>(pair.input.size()), rule.input_length(length)) << text;
      EXPECT_LE(static_cast<int64_t>(pair.target.size()), rule.target_length(length)) << text;
      if (rule.static_lengths()) {
        EXPECT_EQ(static_cast<int64_t>(pair.input.size()), rule.input_length(length));
        EXPECT_EQ(static_cast<int64_t>(pair.target.size()), rule.target_length(length));
      }
      const TokenPair again = denoise(rules, rule, tokens, {4, sample, 2});
      EXPECT_EQ(again.input, pair.input);
      inputs.insert(pair.input);
    }
    EXPECT_GT(inputs.size(), 150u) << "samples differ: " << text;
  }
}

TEST(Denoising, SpansAreCutEverywhereAlike) {
  constexpr int64_t kLength = 40;
  std::vector<int> noise_at(kLength);
  std::vector<int> first_spans(12);
  constexpr int kSamples = 20000;
  for (uint64_t sample = 0; sample < kSamples; ++sample) {
    const NoiseMask mask = span_noise({9, sample, 0}, kLength, 0.25, 2.5);
    ASSERT_EQ(std::accumulate(mask.begin(), mask.end(), 0), 10);
    int spans = 0;
    for (size_t t = 0; t < mask.size(); ++t) {
      noise_at[t] += mask[t];
      if (mask[t] != 0 && (t == 0 || mask[t - 1] == 0)) ++spans;
    }
    ASSERT_EQ(spans, 4);
    ASSERT_EQ(mask.front(), 0);
    ASSERT_EQ(mask.back(), 1);
    const auto first = std::ranges::find(mask, 1);
    ++first_spans[static_cast<size_t>(std::find(first, mask.end(), 0) - first)];
  }
  // The first of 4 spans of 10 tokens together has length k in C(9 - k, 2) of C(9, 3) cases.
  for (int k = 1; k <= 7; ++k) {
    const double share = (9.0 - k) * (8.0 - k) / 2.0 / 84.0;
    EXPECT_NEAR(first_spans[static_cast<size_t>(k)], share * kSamples, 4.0 * std::sqrt(kSamples * share)) << k;
  }
  EXPECT_EQ(noise_at[0], 0);
  EXPECT_EQ(noise_at[kLength - 1], kSamples);
}

TEST(Denoising, OtherRulesAreConfigurations) {
  std::vector<int32_t> tokens(20);
  std::iota(tokens.begin(), tokens.end(), 100);
  const auto pair_of = [&](const std::string& text) {
    const DenoisingRules rules = rules_from({denoiser(text)}, 21);
    return denoise(rules, rules.rules[0], tokens, {1, 2, 3});
  };
  // Prefix language modelling.
  TokenPair pair = pair_of("noise: SUFFIX inputs: DROP mode_token: 999");
  EXPECT_EQ(pair.input.front(), kMode);
  std::vector<int32_t> whole(pair.input.begin() + 1, pair.input.end() - 1);
  whole.insert(whole.end(), pair.target.begin(), pair.target.end() - 1);
  EXPECT_EQ(whole, tokens);
  // MASS: the spans are masked token by token, and said alone.
  pair = pair_of("inputs: MASK mask_token: 796 density: 0.4 mean_span: 4");
  ASSERT_EQ(pair.input.size(), tokens.size() + 1);
  std::vector<int32_t> said;
  for (size_t t = 0; t < tokens.size(); ++t) {
    if (pair.input[t] == kMaskOfDenoising) {
      said.push_back(tokens[t]);
    } else {
      EXPECT_EQ(pair.input[t], tokens[t]);
    }
  }
  EXPECT_EQ(said, std::vector<int32_t>(pair.target.begin(), pair.target.end() - 1));
  EXPECT_EQ(said.size(), 8u);
  // As BERT, but saying everything.
  pair = pair_of("noise: TOKENS inputs: MASK mask_token: 796 targets: TEXT");
  EXPECT_EQ(std::ranges::count(pair.input, kMaskOfDenoising), 3);
  EXPECT_EQ(std::vector<int32_t>(pair.target.begin(), pair.target.end() - 1), tokens);
}

/// 4000 tokens of 0 … 600.
std::string denoising_tokens() {
  const std::string path = ::testing::TempDir() + "denoising." + std::to_string(getpid()) + ".bin";
  TokenFileWriter writer(path, 1000);
  std::vector<int32_t> document;
  for (int i = 0; i < 4000; ++i) document.push_back((i * i + 3 * i) % 600);
  writer.add_document(document);
  writer.finish();
  return path;
}

DenoisingLm make_denoising(const std::vector<Denoiser>& rules, uint64_t seed = 3, int64_t sequence = 48) {
  LanguageData data;
  const std::string path = denoising_tokens();
  data.train.push_back({TokenFile::open(path), 1.0});
  data.validation = TokenFile::open(path);
  return DenoisingLm(std::move(data), rules_from(rules, sequence), 1000, sequence, 0, seed);
}

std::vector<int32_t> ids_of(const Tensor& tensor) {
  return {tensor.data<int32_t>(), tensor.data<int32_t>() + tensor.elements()};
}

TEST(DenoisingLm, ARowIsTheSameInWhateverBatchItComes) {
  for (const bool mixture : {false, true}) {
    std::vector<Denoiser> rules{denoiser()};
    if (mixture) rules = {denoiser("weight: 2"), denoiser("noise: SUFFIX inputs: DROP"), denoiser("density: 0.5")};
    const DenoisingLm objective = make_denoising(rules);
    const Batch all = objective.training_batch(10, 6);
    EXPECT_EQ(all.end_key.defined(), mixture) << "one rule of spans fills its rows";
    const Batch shape = objective.batch_shape(6, Documents::kJoined);
    EXPECT_EQ(all.tokens.shape(), shape.tokens.shape());
    EXPECT_EQ(all.targets.shape(), shape.targets.shape());
    EXPECT_EQ(all.decoder_tokens.shape(), shape.decoder_tokens.shape());
    std::vector<int32_t> tokens, targets, ends;
    for (uint64_t sample = 10; sample < 16; ++sample) {
      const Batch one = objective.training_batch(sample, 1);
      for (const auto& [from, to] : {std::pair(one.tokens, &tokens), std::pair(one.targets, &targets)}) {
        const std::vector<int32_t> ids = ids_of(from);
        to->insert(to->end(), ids.begin(), ids.end());
      }
    }
    EXPECT_EQ(ids_of(all.tokens), tokens);
    EXPECT_EQ(ids_of(all.targets), targets);
    EXPECT_NE(ids_of(make_denoising(rules, 4).training_batch(10, 6).tokens), tokens);
    EXPECT_EQ(ids_of(make_denoising(rules, 4).validation_batch(1, 4, 0).tokens),
              ids_of(objective.validation_batch(1, 4, 0).tokens))
        << "validation does not depend on the seed";
  }
}

TEST(DenoisingLm, TheDecoderReadsTheTargetOneLater) {
  const DenoisingLm objective = make_denoising({denoiser("noise: SUFFIX inputs: DROP")});
  const Batch batch = objective.training_batch(0, 4);
  const int64_t width = batch.targets.shape()[1];
  for (int64_t row = 0; row < 4; ++row) {
    const int32_t* read = batch.decoder_tokens.data<int32_t>() + row * width;
    const int32_t* said = batch.targets.data<int32_t>() + row * width;
    EXPECT_EQ(read[0], 0);
    int64_t length = 0;
    while (length < width && said[length] != kIgnoreIndex) ++length;
    EXPECT_EQ(said[length - 1], kEnd);
    for (int64_t t = 1; t < length; ++t) EXPECT_EQ(read[t], said[t - 1]);
    const int32_t end = batch.end_key.data<int32_t>()[row * batch.tokens.shape()[1]];
    EXPECT_EQ(batch.tokens.data<int32_t>()[row * batch.tokens.shape()[1] + end - 1], kEnd);
    EXPECT_EQ(batch.memory_end.data<int32_t>()[row * width], end);
  }
}

TEST(DenoisingLm, WeightsAreTheSharesOfRules) {
  const DenoisingRules rules = rules_from({denoiser("weight: 3"), denoiser("noise: SUFFIX")}, 48);
  int first = 0;
  for (uint64_t sample = 0; sample < 4000; ++sample) {
    first += &rules.draw(RandomStream{1, sample, 0}.word(0)) == rules.rules.data() ? 1 : 0;
  }
  EXPECT_NEAR(first, 3000, 4.0 * std::sqrt(4000 * 0.75 * 0.25));
}

TEST(DenoisingLm, TooShortAnInputIsAnError) {
  EXPECT_THROW(shape_of_denoising({{denoiser()}}, 2), Error);
  EXPECT_NO_THROW(shape_of_denoising({{denoiser()}}, 3));
}

TEST(SequenceToSequence, AnEpochVisitsEachPairOnce) {
  std::vector<TokenPair> pairs;
  for (int32_t i = 0; i < 7; ++i) pairs.push_back({{i, kEnd}, std::vector<int32_t>(static_cast<size_t>(i + 1), i)});
  const SequenceToSequenceLm objective(pairs, {pairs[2], pairs[3], pairs[4]}, {4, 8, true}, 5, 1);
  const Batch epoch = objective.training_batch(7, 7);
  std::set<int32_t> seen;
  for (int64_t row = 0; row < 7; ++row) {
    const int32_t id = epoch.tokens.data<int32_t>()[row * 4];
    seen.insert(id);
    EXPECT_EQ(epoch.decoder_tokens.data<int32_t>()[row * 8], 5);
    EXPECT_EQ(std::count(epoch.targets.data<int32_t>() + row * 8, epoch.targets.data<int32_t>() + (row + 1) * 8, id),
              id + 1);
    EXPECT_EQ(epoch.end_key.data<int32_t>()[row * 4], 2);
  }
  EXPECT_EQ(seen.size(), 7u);
  EXPECT_NE(ids_of(objective.training_batch(0, 7).tokens), ids_of(epoch.tokens)) << "another order";
  EXPECT_EQ(objective.validation_batches(2, 0), 2);
  const Batch last = objective.validation_batch(1, 2, 0);
  EXPECT_EQ(last.tokens.data<int32_t>()[0], 4);
  EXPECT_EQ(last.targets.data<int32_t>()[8], kIgnoreIndex) << "padding";
  EXPECT_EQ(objective.validation_batches(2, 1), 1);
}

}  // namespace
}  // namespace tsugi
