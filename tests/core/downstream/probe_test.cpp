// Probes against scikit-learn (tests/golden/make_probe.py) and by hand.
#include "core/downstream/probe.h"

#include "tests/ops/contrastive_testing.h"

namespace tsugi {
namespace {

FeatureTable made_up_features() {
  FeatureTable table{6, {}, {}};
  for (const double value : testing::lcg_values(41, 360)) table.values.push_back(static_cast<float>(value));
  for (size_t row = 0; row < 60; ++row) {
    table.labels.push_back(static_cast<int32_t>(row % 3));
    table.values[6 * row + row % 3] += 0.75f;
  }
  return table;
}

TEST(Probe, LogisticRegressionIsScikitLearns) {
  const FeatureTable table = made_up_features();
  const LogisticRegression fit = LogisticRegression::fit(table, 3, 2.0);
  EXPECT_NEAR(fit.objective, 46.11653892281404, 46.1 * 1e-6);
  EXPECT_NEAR(fit.weights[0] - fit.weights[6], 1.733401833622776, 1e-3);
  EXPECT_NEAR(fit.accuracy(table), 0.6, 1e-12);
}

TEST(Probe, ScaleAndShiftOfFeaturesDoNotMatter) {
  const FeatureTable table = made_up_features();
  FeatureTable other = table;
  for (size_t i = 0; i < other.values.size(); ++i) {
    other.values[i] = other.values[i] * (i % 6 == 2 ? 64.0f : 0.25f) + static_cast<float>(i % 6);
  }
  EXPECT_NEAR(linear_probe(table, table, 3), linear_probe(other, other, 3), 0.02);
}

TEST(Probe, TheFirstRowsOfEveryClass) {
  FeatureTable table{1, {10, 11, 12, 13, 14, 15}, {0, 0, 0, 1, 1, 0}};
  const FeatureTable some = rows_per_class(table, 2);
  EXPECT_EQ(some.values, (std::vector<float>{10, 11, 13, 14}));
  EXPECT_EQ(some.labels, (std::vector<int32_t>{0, 0, 1, 1}));
  EXPECT_EQ(rows_per_class(table, 0).rows(), 6);
}

TEST(Probe, NeighboursByCosineAndMajority) {
  const testing::CpuContext cpu(2);
  // Directions: two of class 1 beside the query, one of class 0 on it.
  const FeatureTable train{2, {1.0f, 0.0f, 10.0f, 1.0f, 10.0f, -1.0f, 0.0f, 5.0f}, {0, 1, 1, 2}};
  const FeatureTable test{2, {100.0f, 0.0f, 0.0f, 1.0f}, {1, 2}};
  EXPECT_EQ(nearest_neighbours(cpu, train, test, 3), 0.5) << "of the second, all three vote and the lowest label wins";
  EXPECT_EQ(nearest_neighbours(cpu, train, test, 1), 0.5) << "the nearest of the first is of class 0";
}

}  // namespace
}  // namespace tsugi
