// Loss over tokens, a curve for each size: how well the law follows what was trained, and the cost of missing the
// optimum.
#include <algorithm>
#include <cmath>

#include "launch/report/marks.h"
#include "launch/report/page.h"
#include "launch/report/table.h"
#include "launch/sweep/fit_json.h"

namespace tsugi {
namespace {

SweepRun run_of(double n, double d, double c) {
  SweepRun run;
  run.n = n;
  run.d = d;
  run.c = c;
  run.unique = d;
  return run;
}

/// The compute whose best loss is `loss`; at most c.
double compute_for_loss(const SweepReport& report, double loss, double c) {
  const Fit& fit = report.fit.fit;
  double low = c * 1e-4, high = c;
  const auto best = [&](double compute) {
    return allocate(*fit.law, fit.theta, compute, RunPoint::kUnknown, report.cost).loss;
  };
  if (best(low) < loss) return RunPoint::kUnknown;
  for (int i = 0; i < 30; ++i) {
    const double middle = std::sqrt(low * high);
    (best(middle) > loss ? low : high) = middle;
  }
  return std::sqrt(low * high);
}

/// Bounds, over the bootstrap, of the extra loss at each N/N* for one budget.
std::vector<Interval> extra_loss_bounds(const SweepReport& report, double c, const std::vector<double>& ratios) {
  const Fit& fit = report.fit.fit;
  std::vector<std::vector<double>> values(ratios.size());
  for (const Theta& theta : report.fit.bootstrap.samples) {
    const Allocation best = allocate(*fit.law, theta, c, RunPoint::kUnknown, report.cost);
    for (size_t i = 0; i < ratios.size(); ++i) {
      const double n = ratios[i] * best.n;
      const RunPoint point = run_of(n, report.cost.tokens(c, n), c).point();
      values[i].push_back(100.0 * (std::exp(fit.law->log_loss(theta.data(), point, nullptr)) / best.loss - 1.0));
    }
  }
  std::vector<Interval> bounds;
  for (std::vector<double>& one : values) bounds.push_back(percentile_interval(std::move(one), report.fit.level));
  return bounds;
}

}  // namespace

ReportSection size_section(const SweepReport& report) {
  ReportSection section{"Loss over tokens, size by size", "", {}};
  Plot plot("loss-tokens", "Loss over training tokens for each size", kTokenAxis, {"loss", true, TickText::kPlain},
            1040, 520);
  const std::vector<std::vector<SweepRun>> sizes = runs_by_size(report.table.runs.runs);
  const std::string law = report.has_law() ? report.fit.fit.law->name : "";
  DataTable data({"run", "N", "D", "loss", "predicted", "error", "kind"});
  bool held_out = false;
  for (size_t i = 0; i < sizes.size(); ++i) {
    const int colour = ramp_colour(i, sizes.size());
    const std::vector<SweepRun>& size = sizes[i];
    const double n = size.front().n, low = size.front().d / 1.6, high = size.back().d * 1.6;
    std::vector<PlotPoint> curve;
    constexpr int kSteps = 40;
    for (int step = 0; report.has_law() && step <= kSteps; ++step) {
      const double d = low * std::pow(high / low, static_cast<double>(step) / kSteps);
      curve.push_back({d, report.fit.fit.predict(run_of(n, d, report.cost.flops(n, d)))});
    }
    if (!report.has_law()) {
      for (const SweepRun& run : size) curve.push_back({run.d, run.loss});
    }
    plot.label(curve.back(), count_text(n), colour);
    plot.include_x(1.3 * curve.back().x);
    plot.line(std::move(curve), colour, report.has_law(), "N " + count_text(n) + (law.empty() ? "" : ", " + law));
    for (const SweepRun& run : size) {
      const double predicted = report.has_law() ? report.fit.fit.predict(run) : RunPoint::kUnknown;
      const double error = predicted / run.loss - 1.0;
      plot.point({run.d, run.loss}, colour, run.held_out ? Mark::kStar : Mark::kDot,
                 report.has_law() ? run_title(run, predicted) : run_title(run),
                 run.held_out && report.has_law() ? signed_percent(error) : "");
      data.add({run.name, run.n, run.d, run.loss, predicted, error,
                run.held_out       ? "held out"
                : report.has_law() ? "fitted"
                                   : "run"});
      held_out = held_out || run.held_out;
    }
  }
  if (report.has_law()) plot.legend(kMuted, law + " for each size, from dark (small) to light (large)", true);
  std::string caption = "Runs of one size have one colour; the number at a curve is its N.";
  if (held_out) {
    caption += report.has_law() ? " Stars: runs that the fit has not seen, with the error of its prediction."
                                : " Stars: held-out runs.";
  }
  section.html = figure(plot.html(), caption);
  section.data.emplace_back("loss_over_tokens.csv", data.csv());
  return section;
}

ReportSection misallocation_section(const SweepReport& report) {
  ReportSection section{"What a wrong size costs", "", {}};
  const Axis ratio{"size over the optimal size of the same budget, N/N*", true, TickText::kPlain};
  Plot loss("misallocation-loss", "Extra loss over the size that a budget is spent on", ratio,
            {"extra loss", false, TickText::kPercent}, 580, 380);
  Plot compute("misallocation-compute", "Compute spent over compute needed, over the size", ratio,
               {"compute spent over compute needed", true, TickText::kPlain}, 580, 380);
  std::vector<double> budgets = {report.smallest_fitted_c, report.largest_fitted_c};
  if (report.along_compute.back().best.c > 1.5 * report.largest_fitted_c) {
    budgets.push_back(report.along_compute.back().best.c);
  }
  constexpr int kSteps = 40;
  std::vector<double> ratios;
  for (int i = 0; i <= kSteps; ++i) ratios.push_back(std::pow(10.0, 2.0 * i / kSteps - 1.0));
  DataTable data({"C", "N/N*", "N", "D", "extra loss", "compute spent over needed"});
  const Fit& fit = report.fit.fit;
  std::vector<std::vector<PlotPoint>> all_factors;
  for (size_t b = 0; b < budgets.size(); ++b) {
    const double c = budgets[b];
    const Allocation best = allocate(*fit.law, fit.theta, c, RunPoint::kUnknown, report.cost);
    std::vector<PlotPoint> losses, factors;
    for (const double x : ratios) {
      const double n = x * best.n, d = report.cost.tokens(c, n);
      const double value = fit.predict(run_of(n, d, c)), factor = c / compute_for_loss(report, value, c);
      losses.push_back({x, 100.0 * (value / best.loss - 1.0)});
      factors.push_back({x, factor});
      data.add({c, x, n, d, value / best.loss - 1.0, factor});
    }
    const std::string name = scientific_text(c) + " FLOP, N* " + count_text(best.n);
    const int colour = static_cast<int>(b);
    loss.line(losses, colour, false, name);
    loss.legend(colour, name);
    all_factors.push_back(std::move(factors));
  }
  // Where a law's parts are powers, the factor does not depend on the budget, and one curve says so.
  const auto same = [&](const std::vector<PlotPoint>& one) {
    return std::ranges::equal(one, all_factors[0], [](PlotPoint a, PlotPoint b) {
      return a.y == b.y || std::abs(a.y / b.y - 1.0) < 0.005 || std::isnan(a.y) || std::isnan(b.y);
    });
  };
  if (std::ranges::all_of(all_factors, same)) {
    compute.line(all_factors[0], 0, false, "any budget");
    compute.legend(0, "the same at every budget");
  } else {
    for (size_t b = 0; b < budgets.size(); ++b) {
      compute.line(all_factors[b], static_cast<int>(b), false, scientific_text(budgets[b]) + " FLOP");
      compute.legend(static_cast<int>(b), scientific_text(budgets[b]) + " FLOP");
    }
  }
  const std::vector<Interval> bounds = extra_loss_bounds(report, report.largest_fitted_c, ratios);
  std::vector<double> low, high;
  for (const Interval& one : bounds) {
    low.push_back(one.low);
    high.push_back(one.high);
  }
  loss.band(ratios, low, high, 1);
  section.html = "<div class=\"figures\">\n" +
                 figure(loss.html(), "Loss above the best that the budget could buy; the band is the " +
                                         short_number(100.0 * report.fit.level) +
                                         " % bootstrap interval at the largest fitted budget.") +
                 figure(compute.html(),
                        "How many times the compute was spent that the same loss would have taken at "
                        "the optimal size.") +
                 "</div>\n";
  section.data.emplace_back("misallocation.csv", data.csv());
  return section;
}

}  // namespace tsugi
