#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "ops/score_bounds/score_bounds_internal.h"

namespace tsugi::cpu {
namespace {

double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }
double logistic(double x) { return 1.0 / (1.0 + std::exp(-x)); }

/// ln Σ exp of the scores of a row, without the one at `without` (-1: of all).
double log_sum(std::span<const float> row, int64_t without) {
  double top = -std::numeric_limits<double>::infinity();
  const auto each = [&](auto&& visit) {
    for (int64_t j = 0; j < std::ssize(row); ++j) {
      if (j != without) visit(static_cast<double>(row[static_cast<size_t>(j)]));
    }
  };
  each([&](double score) { top = std::max(top, score); });
  double sum = 0.0;
  each([&](double score) { sum += std::exp(score - top); });
  return std::log(sum) + top;
}

ScoreRow facts_of(ScoreBound kind, std::span<const float> row, int64_t own) {
  const auto score = static_cast<double>(row[static_cast<size_t>(own)]);
  const auto sum = [&](auto&& f) {
    double total = 0.0;
    for (int64_t j = 0; j < std::ssize(row); ++j) {
      if (j != own) total += f(static_cast<double>(row[static_cast<size_t>(j)]));
    }
    return total;
  };
  switch (kind) {
    case ScoreBound::kDonskerVaradhan:
      return {log_sum(row, own), score};
    case ScoreBound::kNwj:
      return {sum([](double s) { return std::exp(s - 1.0); }), score};
    case ScoreBound::kJsd:
      return {sum([](double s) { return softplus(s) - std::numbers::ln2; }), std::numbers::ln2 - softplus(-score)};
    case ScoreBound::kInfoNce:
      return {log_sum(row, -1), score};
  }
  LOG(FATAL) << "no bound " << static_cast<int>(kind);
}

double slope(ScoreBound kind, double score, bool own, double level, double n) {
  const double pairs = n * (n - 1.0);
  if (kind == ScoreBound::kJsd) return own ? logistic(-score) / n : -logistic(score) / pairs;
  if (kind == ScoreBound::kInfoNce) return ((own ? 1.0 : 0.0) - std::exp(score - level)) / n;
  return own ? 1.0 / n : -std::exp(score - level) / pairs;
}

}  // namespace

void score_rows(const Context& context, ScoreBound kind, const Tensor& scores, const Tensor& facts) {
  const int64_t n = scores.shape()[0];
  context.pool().for_each(n, [&](int64_t i, int) {
    const ScoreRow row = facts_of(kind, {scores.data<float>() + i * n, static_cast<size_t>(n)}, i);
    facts.data<double>()[2 * i] = row.others;
    facts.data<double>()[2 * i + 1] = row.own;
  });
}

void score_slopes(const Context& context, ScoreBound kind, const Tensor& scores, const Tensor& levels,
                  const Tensor& d_scores) {
  const int64_t n = scores.shape()[0];
  context.pool().for_each(n, [&](int64_t i, int) {
    for (int64_t j = 0; j < n; ++j) {
      const auto score = static_cast<double>(scores.data<float>()[i * n + j]);
      d_scores.data<float>()[i * n + j] =
          static_cast<float>(slope(kind, score, i == j, levels.data<double>()[i], static_cast<double>(n)));
    }
  });
}

}  // namespace tsugi::cpu
