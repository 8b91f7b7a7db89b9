#include "ops/score_bounds/score_bounds.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/score_bounds/score_bounds_internal.h"
#include "ops/tensor/copy.h"
#include "ops/tensor/device_objectives.h"

namespace tsugi {
namespace {

double log_add(double a, double b) {
  const double larger = std::max(a, b);
  return larger + std::log(std::exp(a - larger) + std::exp(b - larger));
}

/// Takes a batch's logarithm of the mean into the average, and returns the average's.
double log_average(ScoreAverage& average, double log_mean) {
  if (average.steps++ == 0) {
    average.log_mean = log_mean;
  } else {
    average.log_mean = log_add(std::log(average.decay) + average.log_mean, std::log(1.0 - average.decay) + log_mean);
  }
  return average.log_mean;
}

/// The bound; `levels`: of score_slopes().
double bound_of(ScoreBound kind, std::span<const ScoreRow> rows, ScoreAverage* average, std::vector<double>& levels) {
  const auto n = static_cast<double>(rows.size());
  const double pairs = n * (n - 1.0);
  double own = 0.0, others = 0.0, top = rows[0].others;
  for (const ScoreRow& row : rows) {
    own += row.own;
    others += row.others;
    top = std::max(top, row.others);
  }
  switch (kind) {
    case ScoreBound::kDonskerVaradhan: {
      double sum = 0.0;
      for (const ScoreRow& row : rows) sum += std::exp(row.others - top);
      const double log_mean = std::log(sum / pairs) + top;
      levels.assign(rows.size(), average == nullptr ? log_mean : log_average(*average, log_mean));
      return own / n - log_mean;
    }
    case ScoreBound::kNwj:
    case ScoreBound::kJsd:
      levels.assign(rows.size(), 1.0);
      return own / n - others / pairs;
    case ScoreBound::kInfoNce:
      levels.clear();
      for (const ScoreRow& row : rows) levels.push_back(row.others);
      return (own - others) / n + std::log(n);
  }
  LOG(FATAL) << "no bound " << static_cast<int>(kind);
}

}  // namespace

double score_bound(const Context& context, ScoreBound kind, const Tensor& scores, const Tensor& d_scores,
                   ScoreAverage* average) {
  CHECK(scores.shape().rank() == 2 && scores.shape()[0] == scores.shape()[1]) << scores.shape().to_string();
  CHECK_GE(scores.shape()[0], 2) << "nothing but pairs that belong together";
  CHECK(scores.dtype() == DType::kF32);
  if (d_scores.defined()) CHECK(d_scores.shape() == scores.shape() && d_scores.dtype() == DType::kF32);
  CHECK(average == nullptr || kind == ScoreBound::kDonskerVaradhan);
  const int64_t n = scores.shape()[0];
  const Tensor facts = context.empty({n, 2}, DType::kF64);
  const Tensor levels = d_scores.defined() ? context.empty({n}, DType::kF64) : Tensor();
  if (context.meta()) return 0.0;
  DeviceOperators* const device = context.operators();
  if (device != nullptr) {
    device->objectives().score_rows(context, kind, scores, facts);
  } else {
    cpu::score_rows(context, kind, scores, facts);
  }
  std::vector<ScoreRow> rows(static_cast<size_t>(n));
  copy_to_host(context, facts, rows.data());
  std::vector<double> of_rows;
  const double bound = bound_of(kind, rows, average, of_rows);
  if (!d_scores.defined()) return bound;
  copy_from_host(context, of_rows.data(), levels);
  if (device != nullptr) {
    device->objectives().score_slopes(context, kind, scores, levels, d_scores);
  } else {
    cpu::score_slopes(context, kind, scores, levels, d_scores);
  }
  return bound;
}

}  // namespace tsugi
