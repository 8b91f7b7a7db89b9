#include "core/data/mixture.h"

#include <gmock/gmock.h>

#include <cmath>

#include "tests/core/data/testing.h"

namespace tsugi {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::message_of;

/// The largest |c(s, n) − n·w(s)/W| over all sources and the first `samples` prefixes.
double largest_deviation(const Mixture& mixture, const std::vector<double>& weights, uint64_t samples) {
  double sum = 0.0;
  for (const double weight : weights) sum += weight;
  std::vector<uint64_t> count(weights.size());
  double largest = 0.0;
  for (uint64_t n = 0; n < samples; ++n) {
    const Mixture::Pick pick = mixture.pick(n);
    const auto source = static_cast<size_t>(pick.source);
    EXPECT_EQ(pick.index, count[source]) << n;
    ++count[source];
    for (size_t s = 0; s < weights.size(); ++s) {
      const double share = static_cast<double>(n + 1) * weights[s] / sum;
      largest = std::max(largest, std::abs(static_cast<double>(count[s]) - share));
    }
  }
  return largest;
}

TEST(Mixture, EveryPrefixIsLessThanOneSampleFromItsShares) {
  const std::vector<std::vector<double>> mixtures = {{1},
                                                     {1, 1},
                                                     {0.7, 0.3},
                                                     {0.67, 0.045, 0.045, 0.15, 0.045, 0.025, 0.02},
                                                     {5, 3, 1},
                                                     {1, 1000},
                                                     {0.001, 1, 1},
                                                     {1, 1, 1, 1, 1, 1, 1},
                                                     {0.333333, 0.666667},
                                                     {2.5, 2.5, 95},
                                                     {1e-3, 2e-3, 1e2}};
  for (const auto& weights : mixtures) {
    for (const uint64_t seed : {1u, 2u}) {
      const Mixture mixture(weights, seed);
      const auto samples = std::min<uint64_t>(2 * static_cast<uint64_t>(mixture.period()) + 100, 300'000);
      EXPECT_LT(largest_deviation(mixture, weights, samples), 1.0 - 1e-9) << weights.size() << " sources";
    }
  }
}

TEST(Mixture, HoldsForRandomWeights) {
  uint32_t state = 7;
  const auto random = [&state] { return (state = state * 1664525u + 1013904223u) >> 16; };
  for (int round = 0; round < 200; ++round) {
    std::vector<double> weights(1 + random() % 12);
    for (double& weight : weights) weight = 1 + random() % 97;
    EXPECT_LT(largest_deviation(Mixture(weights, 3), weights, 2500), 1.0 - 1e-9);
  }
}

TEST(Mixture, ReachesFarSamplesAtOnce) {
  const Mixture mixture({0.7, 0.2, 0.1}, 5);
  EXPECT_THAT(mixture.parts(), ElementsAre(7, 2, 1));
  EXPECT_EQ(mixture.period(), 10);
  std::vector<uint64_t> count(3);
  for (uint64_t n = 1'000'000'000'000; n < 1'000'000'000'010; ++n) {
    const Mixture::Pick pick = mixture.pick(n);
    EXPECT_EQ(pick.index, mixture.taken(pick.source, n));
    ++count[static_cast<size_t>(pick.source)];
  }
  EXPECT_THAT(count, ElementsAre(7, 2, 1));
  EXPECT_EQ(mixture.taken(1, 1'000'000'000'000), 200'000'000'000u);
}

TEST(Mixture, TheSeedOrdersEquals) {
  const auto order = [](uint64_t seed) {
    const Mixture mixture(std::vector<double>(8, 1.0), seed);
    std::vector<int64_t> sources;
    for (uint64_t n = 0; n < 8; ++n) sources.push_back(mixture.pick(n).source);
    return sources;
  };
  EXPECT_EQ(order(1), order(1));
  EXPECT_NE(order(1), order(2));
}

TEST(Mixture, WeightsThatCannotBeMetAreErrors) {
  const auto error = [](const std::vector<double>& weights) {
    return message_of(ExitCode::kUsage, [&] { Mixture(weights, 1); });
  };
  EXPECT_THAT(error({}), HasSubstr("sources"));
  EXPECT_THAT(error({1, 0}), HasSubstr("above 0"));
  EXPECT_THAT(error({1, -1}), HasSubstr("above 0"));
  EXPECT_THAT(error({1, std::nan("")}), HasSubstr("above 0"));
  EXPECT_THAT(error({1, INFINITY}), HasSubstr("above 0"));
  EXPECT_THAT(error({1, 1.0 / 3.0}), HasSubstr("too many digits"));
  EXPECT_THAT(error({1, 1e-9}), HasSubstr("too many digits"));
}

}  // namespace
}  // namespace tsugi
