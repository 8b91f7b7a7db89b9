// Comparisons of features against the double reference: InfoNCE, triplets, wholes and their parts.
#include <cmath>

#include "ops/part_bounds/part_bounds.h"
#include "tests/ops/contrastive_testing.h"
#include "tests/ops/cuda/context.h"
#include "tests/ops/cuda/low_precision.h"
#include "tests/ops/cuda/testing.h"

namespace tsugi {
namespace {

using testing::InfoNceProblem;
using testing::random_values;

/// Ignored rows, padding keys, false negatives, queries that are no keys; with classes: several positives.
InfoNceProblem mixed_queries(int64_t queries, int64_t keys, int64_t width, bool classes) {
  InfoNceProblem p;
  p.shape = {queries, keys, width, 0.3};
  p.queries = random_values(queries * width, 1, 0.7);
  p.keys = random_values(keys * width, 2, 0.7);
  for (int64_t i = 0; i < queries; ++i) {
    p.positives.push_back(i % 7 == 3 ? kIgnoreIndex : static_cast<int32_t>((5 * i + 1) % keys));
    p.query_groups.push_back(i % 5 == 0 ? kNoGroup : static_cast<int32_t>(i % 4));
    if (classes) p.query_classes.push_back(static_cast<int32_t>(i % 3));
  }
  for (int64_t j = 0; j < keys; ++j) {
    p.key_groups.push_back(j % 11 == 2 ? kNoGroup : static_cast<int32_t>(j % 6));
    if (classes) p.key_classes.push_back(static_cast<int32_t>(j % 3));
  }
  if (classes) p.count_positives();
  return p;
}

const std::tuple<int64_t, int64_t, int64_t> kComparisons[] = {
    {1, 2, 4}, {9, 9, 12}, {37, 70, 16}, {20, 700, 8}, {13, 20, 7}};

class CudaComparisons : public testing::OnCuda {
 protected:
  Tensor there(const Tensor& host) const { return on_device(cuda().context, host); }
  Tensor empty(Shape shape, DType type) const { return cuda().context.empty(shape, type); }

  InfoNce pairs_there(InfoNceProblem& p) const {
    InfoNce pairs = p.tensors(cuda().host);
    for (Tensor* tensor : {&pairs.queries, &pairs.keys, &pairs.positives, &pairs.query_groups, &pairs.key_groups,
                           &pairs.query_classes, &pairs.key_classes, &pairs.positive_counts}) {
      *tensor = there(*tensor);
    }
    return pairs;
  }

  /// Sums and gradients of what a comparison gives, the same under every order of execution.
  struct Result {
    InfoNceSum sum;
    std::vector<double> d_rows, d_columns;
  };
  template <class F>
  Result result_of(F&& run) const {
    std::vector<Result> results;
    testing::for_seeds([&] { results.push_back(run()); });
    for (const Result& other : results) {
      EXPECT_EQ(other.sum.loss.sum, results.front().sum.loss.sum);
      EXPECT_EQ(other.d_rows, results.front().d_rows);
      EXPECT_EQ(other.d_columns, results.front().d_columns);
    }
    return results.front();
  }

  static void expect_right(const Result& result, const InfoNceSum& expected, const std::vector<double>& d_rows,
                           const std::vector<double>& d_columns) {
    EXPECT_EQ(result.sum.loss.count, expected.loss.count);
    EXPECT_EQ(result.sum.nearest, expected.nearest);
    EXPECT_NEAR(result.sum.loss.sum, expected.loss.sum, 2e-6 * (1.0 + std::abs(expected.loss.sum)));
    EXPECT_LE(testing::largest_error(result.d_rows, d_rows), 5e-6 * std::max(1e-30, testing::max_abs(d_rows)));
    EXPECT_LE(testing::largest_error(result.d_columns, d_columns), 5e-6 * std::max(1e-30, testing::max_abs(d_columns)));
  }

  /// d_keys in two parts, as ranks form them.
  template <class F>
  std::vector<double> in_parts(int64_t count, int64_t width, F&& gradient) const {
    const Tensor all = empty({count, width}, DType::kF32);
    const int64_t half = count / 2;
    if (half > 0) gradient(0, all.slice(0, {half, width}));
    gradient(half, all.slice(half * width, {count - half, width}));
    return cuda().read(all);
  }
};

TEST_F(CudaComparisons, InfoNceMatchesTheReference) {
  for (const bool classes : {false, true}) {
    for (const auto& [queries, keys, width] : kComparisons) {
      SCOPED_TRACE(std::to_string(queries) + (classes ? " with classes" : ""));
      InfoNceProblem p = mixed_queries(queries, keys, width, classes);
      const InfoNce problem = pairs_there(p);
      const Result result = result_of([&] {
        const Tensor log_sums = empty({queries}, DType::kF64), d_queries = empty({queries, width}, DType::kF32);
        Result r;
        r.sum = info_nce(cuda().context, problem, log_sums, d_queries);
        EXPECT_EQ(info_nce(cuda().context, problem, log_sums, {}).loss.sum, r.sum.loss.sum);
        r.d_rows = cuda().read(d_queries);
        r.d_columns = in_parts(keys, width, [&](int64_t first, const Tensor& d_keys) {
          info_nce_key_gradient(cuda().context, problem, log_sums, first, d_keys);
        });
        return r;
      });
      std::vector<double> d_queries(p.queries.size()), d_keys(p.keys.size());
      const InfoNceSum expected = p.run_reference(d_queries, d_keys);
      expect_right(result, expected, d_queries, d_keys);
    }
  }
}

TEST_F(CudaComparisons, InfoNceShowsPositivesThatAreNoKeys) {
  InfoNceProblem p = mixed_queries(4, 6, 4, false);
  p.positives[1] = 6;
  const InfoNce problem = pairs_there(p);
  const Tensor log_sums = empty({4}, DType::kF64);
  EXPECT_TRUE(std::isnan(info_nce(cuda().context, problem, log_sums, {}).loss.sum));
}

TEST_F(CudaComparisons, TripletsMatchTheReference) {
  for (const TripletForm form : {TripletForm::kMargin, TripletForm::kLogistic}) {
    for (const auto& [queries, keys, width] : kComparisons) {
      SCOPED_TRACE(queries);
      InfoNceProblem p = mixed_queries(queries, keys, width, false);
      const Triplets problem{pairs_there(p), form, 0.3f};
      const Result result = result_of([&] {
        const Tensor facts = empty({queries, kTripletFacts}, DType::kF64);
        const Tensor d_queries = empty({queries, width}, DType::kF32);
        Result r;
        r.sum = triplet(cuda().context, problem, facts, d_queries);
        EXPECT_EQ(triplet(cuda().context, problem, facts, {}).loss.sum, r.sum.loss.sum);
        r.d_rows = cuda().read(d_queries);
        r.d_columns = in_parts(keys, width, [&](int64_t first, const Tensor& d_keys) {
          triplet_key_gradient(cuda().context, problem, facts, first, d_keys);
        });
        return r;
      });
      std::vector<double> d_queries(p.queries.size()), d_keys(p.keys.size());
      const InfoNceSum expected = p.run_triplet_reference(form, static_cast<double>(0.3f), d_queries, d_keys);
      expect_right(result, expected, d_queries, d_keys);
    }
  }
}

TEST_F(CudaComparisons, PartsMatchTheReference) {
  for (const PartBound bound : {PartBound::kJsd, PartBound::kInfoNce}) {
    for (const auto& [wholes, each, width, clip] : {std::tuple<int64_t, int64_t, int64_t, double>{2, 1, 4, 0.0},
                                                    {17, 4, 8, 0.0},
                                                    {24, 16, 24, 3.0},
                                                    {9, 3, 5, 3.0}}) {
      SCOPED_TRACE(wholes);
      const int64_t parts = wholes * each;
      const double penalty = clip > 0.0 ? static_cast<double>(0.05f) : 0.0;
      const reference::PartScores shape{wholes, parts, width, bound, 0.5, clip, penalty, 1.5};
      std::vector<double> w = random_values(wholes * width, 15), p = random_values(parts * width, 16);
      std::vector<int32_t> whole_ids, part_ids;
      for (int64_t i = 0; i < wholes; ++i) whole_ids.push_back(static_cast<int32_t>(i));
      for (int64_t j = 0; j < parts; ++j) part_ids.push_back(static_cast<int32_t>(j % wholes));
      const PartScores problem{cuda().upload(w, {wholes, width}, DType::kF32),
                               cuda().upload(p, {parts, width}, DType::kF32),
                               cuda().integers(whole_ids, {wholes}),
                               cuda().integers(part_ids, {parts}),
                               each,
                               bound,
                               0.5f,
                               static_cast<float>(clip),
                               static_cast<float>(penalty),
                               1.5f};
      const Result result = result_of([&] {
        const Tensor facts = empty({wholes, kPartFacts}, DType::kF64);
        const Tensor d_wholes = empty({wholes, width}, DType::kF32);
        Result r;
        r.sum = part_bound(cuda().context, problem, facts, d_wholes);
        EXPECT_EQ(part_bound(cuda().context, problem, facts, {}).loss.sum, r.sum.loss.sum);
        r.d_rows = cuda().read(d_wholes);
        r.d_columns = in_parts(parts, width, [&](int64_t first, const Tensor& d_parts) {
          part_bound_part_gradient(cuda().context, problem, facts, first, d_parts);
        });
        return r;
      });
      std::vector<double> d_w(w.size()), d_p(p.size());
      const InfoNceSum expected = reference::part_bound(shape, w, p, whole_ids, part_ids, d_w, d_p);
      expect_right(result, expected, d_w, d_p);
    }
  }
}

}  // namespace
}  // namespace tsugi
