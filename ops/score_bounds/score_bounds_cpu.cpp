#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "ops/score_bounds/score_bounds_internal.h"

namespace tsugi::cpu {
namespace {

double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }
double logistic(double x) { return 1.0 / (1.0 + std::exp(-x)); }

/// A square matrix of scores, its rows in parallel.
struct ScoreRows {
  const Context* context;
  const Tensor* scores;
  const Tensor* d_scores;
  const Tensor* sums;
  int64_t n;

  double at(int64_t i, int64_t j) const { return static_cast<double>(scores->data<float>()[i * n + j]); }
  double diagonal_mean() const {
    double sum = 0.0;
    for (int64_t i = 0; i < n; ++i) sum += at(i, i);
    return sum / static_cast<double>(n);
  }
  /// Σ over the rows, in order, of Σ_j f(i, j).
  template <class F>
  double sum(F&& f) const {
    context->pool().for_each(n, [&](int64_t i, int) {
      double row = 0.0;
      for (int64_t j = 0; j < n; ++j) row += f(i, j);
      sums->data<double>()[i] = row;
    });
    double total = 0.0;
    for (int64_t i = 0; i < n; ++i) total += sums->data<double>()[i];
    return total;
  }
  /// d_scores(i, j) = f(i, j), if it is wanted.
  template <class F>
  void differentiate(F&& f) const {
    if (!d_scores->defined()) return;
    context->pool().for_each(n, [&](int64_t i, int) {
      for (int64_t j = 0; j < n; ++j) d_scores->data<float>()[i * n + j] = static_cast<float>(f(i, j));
    });
  }
};

double donsker_varadhan(const ScoreRows& rows, ScoreAverage* average) {
  const auto n = static_cast<double>(rows.n);
  double top = -std::numeric_limits<double>::infinity();
  for (int64_t i = 0; i < rows.n; ++i) {
    for (int64_t j = 0; j < rows.n; ++j) top = i == j ? top : std::max(top, rows.at(i, j));
  }
  const double sum = rows.sum([&](int64_t i, int64_t j) { return i == j ? 0.0 : std::exp(rows.at(i, j) - top); });
  const double pairs = n * (n - 1.0);
  const double log_mean = std::log(sum / pairs) + top;
  double divisor = log_mean;
  if (average != nullptr) {
    if (average->steps++ == 0) {
      average->log_mean = log_mean;
    } else {  // ln(decay·e^old + (1 - decay)·e^new), from the larger of the two
      const double larger = std::max(average->log_mean, log_mean);
      average->log_mean = larger + std::log(average->decay * std::exp(average->log_mean - larger) +
                                            (1.0 - average->decay) * std::exp(log_mean - larger));
    }
    divisor = average->log_mean;
  }
  rows.differentiate(
      [&](int64_t i, int64_t j) { return i == j ? 1.0 / n : -std::exp(rows.at(i, j) - divisor) / pairs; });
  return rows.diagonal_mean() - log_mean;
}

double nwj(const ScoreRows& rows) {
  const auto n = static_cast<double>(rows.n);
  const double pairs = n * (n - 1.0);
  rows.differentiate([&](int64_t i, int64_t j) { return i == j ? 1.0 / n : -std::exp(rows.at(i, j) - 1.0) / pairs; });
  const double sum = rows.sum([&](int64_t i, int64_t j) { return i == j ? 0.0 : std::exp(rows.at(i, j) - 1.0); });
  return rows.diagonal_mean() - sum / pairs;
}

double jsd(const ScoreRows& rows) {
  const auto n = static_cast<double>(rows.n);
  const double pairs = n * (n - 1.0);
  rows.differentiate(
      [&](int64_t i, int64_t j) { return i == j ? logistic(-rows.at(i, j)) / n : -logistic(rows.at(i, j)) / pairs; });
  return rows.sum([&](int64_t i, int64_t j) {
    const double score = rows.at(i, j);
    return i == j ? (std::numbers::ln2 - softplus(-score)) / n : (std::numbers::ln2 - softplus(score)) / pairs;
  });
}

double info_nce_bound(const ScoreRows& rows) {
  const auto n = static_cast<double>(rows.n);
  const auto log_sum = [&](int64_t i) {
    double top = rows.at(i, 0);
    for (int64_t j = 1; j < rows.n; ++j) top = std::max(top, rows.at(i, j));
    double sum = 0.0;
    for (int64_t j = 0; j < rows.n; ++j) sum += std::exp(rows.at(i, j) - top);
    return std::log(sum) + top;
  };
  rows.context->pool().for_each(rows.n, [&](int64_t i, int) { rows.sums->data<double>()[i] = log_sum(i); });
  const double* const log_sums = rows.sums->data<double>();
  rows.differentiate(
      [&](int64_t i, int64_t j) { return ((i == j ? 1.0 : 0.0) - std::exp(rows.at(i, j) - log_sums[i])) / n; });
  double bound = std::log(n);
  for (int64_t i = 0; i < rows.n; ++i) bound += (rows.at(i, i) - log_sums[i]) / n;
  return bound;
}

}  // namespace

double score_bound(const Context& context, ScoreBound kind, const Tensor& scores, const Tensor& d_scores,
                   ScoreAverage* average, const Tensor& row_sums) {
  const ScoreRows rows{&context, &scores, &d_scores, &row_sums, scores.shape()[0]};
  switch (kind) {
    case ScoreBound::kDonskerVaradhan:
      return donsker_varadhan(rows, average);
    case ScoreBound::kNwj:
      return nwj(rows);
    case ScoreBound::kJsd:
      return jsd(rows);
    case ScoreBound::kInfoNce:
      return info_nce_bound(rows);
  }
  LOG(FATAL) << "no bound " << static_cast<int>(kind);
}

}  // namespace tsugi::cpu
