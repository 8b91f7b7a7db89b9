#include "core/data/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include "tests/core/data/testing.h"

namespace tsugi {
namespace {

std::vector<int64_t> epoch_offsets(const Sampler& sampler, uint64_t epoch) {
  const auto windows = static_cast<uint64_t>(sampler.windows());
  std::vector<int64_t> offsets;
  for (uint64_t i = 0; i < windows; ++i) offsets.push_back(sampler.offset(epoch * windows + i));
  return offsets;
}

TEST(PermuteIndex, IsABijectionForEverySize) {
  std::vector<uint64_t> sizes;
  for (uint64_t size = 1; size <= 130; ++size) sizes.push_back(size);
  for (const uint64_t size : {1000u, 1023u, 1024u, 1025u, 4097u, 65536u, 100'003u}) sizes.push_back(size);
  for (const uint64_t size : sizes) {
    std::vector<bool> hit(size);
    for (uint64_t i = 0; i < size; ++i) {
      const uint64_t image = permute_index(i, size, 17, 3);
      ASSERT_LT(image, size);
      ASSERT_FALSE(hit[image]) << image << " twice in " << size;
      hit[image] = true;
    }
  }
}

TEST(PermuteIndex, StaysInsideHugeSizes) {
  for (const uint64_t size : {uint64_t{1} << 33, (uint64_t{1} << 40) + 7, (uint64_t{1} << 62) + 1, ~uint64_t{0}}) {
    std::set<uint64_t> images;
    for (uint64_t i = 0; i < 1000; ++i) {
      images.insert(permute_index(i, size, 5, 0));
      images.insert(permute_index(size - 1 - i, size, 5, 0));
    }
    EXPECT_EQ(images.size(), 2000u);
    EXPECT_LT(*images.rbegin(), size);
    // A thousand draws from both ends spread over the whole: the middle half holds half of them, ± 6 sigma.
    const auto middle = std::ranges::count_if(images, [&](uint64_t v) { return v >= size / 4 && v < size / 4 * 3; });
    EXPECT_NEAR(static_cast<double>(middle), 1000.0, 6.0 * std::sqrt(2000.0 * 0.25));
  }
}

TEST(PermuteIndex, EveryImageIsEquallyLikelyOverSeedsAndStreams) {
  constexpr uint64_t kSize = 12;
  constexpr int kDraws = 12'000;
  for (const bool by_seed : {true, false}) {
    std::vector<int> count(kSize * kSize);
    for (uint64_t draw = 0; draw < kDraws; ++draw) {
      const uint64_t seed = by_seed ? draw : 1;
      const uint64_t stream = by_seed ? 1 : draw;
      for (uint64_t i = 0; i < kSize; ++i) ++count[i * kSize + permute_index(i, kSize, seed, stream)];
    }
    double chi_square = 0.0;
    constexpr double kExpected = static_cast<double>(kDraws) / kSize;
    for (const int c : count) chi_square += (c - kExpected) * (c - kExpected) / kExpected;
    // (12 - 1)² degrees of freedom: mean 121, deviation √242.
    EXPECT_LT(chi_square, 121.0 + 6.0 * std::sqrt(242.0)) << (by_seed ? "seeds" : "streams");
  }
}

TEST(Sampler, VisitsDisjointWindowsOncePerEpoch) {
  for (const int64_t tokens : {65, 127, 128, 129, 1000, 4096, 4097, 10'001}) {
    const int64_t sequence = 64;
    const Sampler sampler(tokens, sequence, 9);
    for (uint64_t epoch = 0; epoch < 5; ++epoch) {
      std::vector<int64_t> offsets = epoch_offsets(sampler, epoch);
      std::ranges::sort(offsets);
      EXPECT_GE(offsets.front(), 0);
      EXPECT_LT(offsets.back() + sequence, tokens) << "the last target lies behind the file";
      for (size_t i = 1; i < offsets.size(); ++i) EXPECT_EQ(offsets[i] - offsets[i - 1], sequence);
    }
  }
}

TEST(Sampler, LeavesOutLessThanTwoSequencesOfAnEpoch) {
  for (int64_t tokens = 9; tokens < 300; ++tokens) {
    const Sampler sampler(tokens, 8, 1);
    EXPECT_GT(sampler.windows() * 8, tokens - 1 - 2 * 8) << tokens;
    EXPECT_GE(sampler.windows(), 1);
  }
}

TEST(Sampler, OverTheEpochsReachesEveryToken) {
  constexpr int64_t kTokens = 205;
  const Sampler sampler(kTokens, 20, 3);
  std::vector<bool> target(kTokens);
  for (uint64_t epoch = 0; epoch < 400; ++epoch) {
    for (const int64_t offset : epoch_offsets(sampler, epoch)) {
      for (int64_t i = 1; i <= 20; ++i) target[static_cast<size_t>(offset + i)] = true;
    }
  }
  EXPECT_EQ(std::ranges::count(target, true), kTokens - 1) << "only the first token has nothing before it";
}

TEST(Sampler, OneWindowIsEnough) {
  const Sampler exact(9, 8, 4);
  EXPECT_EQ(exact.windows(), 1);
  for (uint64_t i = 0; i < 20; ++i) EXPECT_EQ(exact.offset(i), 0);
  const Sampler shifted(12, 8, 4);
  std::set<int64_t> seen;
  for (uint64_t i = 0; i < 200; ++i) seen.insert(shifted.offset(i));
  EXPECT_EQ(seen, (std::set<int64_t>{0, 1, 2, 3}));
  EXPECT_THAT(testing::message_of(ExitCode::kData, [] { Sampler(8, 8, 4); }), ::testing::HasSubstr("8 tokens"));
  EXPECT_THROW(Sampler(0, 8, 4), Error);
}

TEST(Sampler, DependsOnSeedAndEpochAlone) {
  const Sampler a(100'000, 64, 1);
  const Sampler same(100'000, 64, 1);
  const Sampler other(100'000, 64, 2);
  EXPECT_EQ(epoch_offsets(a, 0), epoch_offsets(same, 0));
  EXPECT_EQ(epoch_offsets(a, 7), epoch_offsets(same, 7));
  // Two random orders of 1561 windows agree in one place on average.
  const auto agreements = [](std::vector<int64_t> x, std::vector<int64_t> y) {
    int count = 0;
    for (size_t i = 0; i < x.size(); ++i) count += x[i] / 64 == y[i] / 64;
    return count;
  };
  EXPECT_LT(agreements(epoch_offsets(a, 0), epoch_offsets(other, 0)), 10);
  EXPECT_LT(agreements(epoch_offsets(a, 0), epoch_offsets(a, 1)), 10);
  std::set<int64_t> shifts;
  for (uint64_t epoch = 0; epoch < 40; ++epoch) shifts.insert(epoch_offsets(a, epoch)[0] % 64);
  EXPECT_GT(shifts.size(), 20u);
}

// Checkpoints hold only a step number: the order must never change. Values of tests/golden/make_sampler.py.
TEST(Sampler, OrderIsThatOfTheGoldenFile) {
  std::ifstream file(std::string(TSUGI_SOURCE_DIR) + "/tests/golden/sampler.txt");
  int64_t tokens = 0, sequence = 0, offset = 0, lines = 0;
  uint64_t seed = 0, index = 0;
  for (; file >> tokens >> sequence >> seed >> index >> offset; ++lines) {
    EXPECT_EQ(Sampler(tokens, sequence, seed).offset(index), offset) << "line " << lines + 1;
  }
  EXPECT_EQ(lines, 28);
}

}  // namespace
}  // namespace tsugi
