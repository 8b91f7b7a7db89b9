// Loss over compute, and the fitted surface.
#include <algorithm>
#include <cmath>

#include "launch/report/marks.h"
#include "launch/report/page.h"
#include "launch/report/table.h"
#include "launch/sweep/fit_json.h"

namespace tsugi {
namespace {

/// ln D with L(N, D) = loss: L falls with D. NaN when it is not within the bounds.
double tokens_for_loss(const SweepReport& report, double n, double loss, double low, double high) {
  const auto at = [&](double d) {
    SweepRun run;
    run.n = n;
    run.d = d;
    run.c = report.cost.flops(n, d);
    run.unique = d;
    return report.fit.fit.predict(run);
  };
  if (at(low) < loss || at(high) > loss) return RunPoint::kUnknown;
  for (int i = 0; i < 60; ++i) {
    const double middle = std::sqrt(low * high);
    (at(middle) > loss ? low : high) = middle;
  }
  return std::sqrt(low * high);
}

}  // namespace

ReportSection loss_section(const SweepReport& report) {
  ReportSection section{"Loss over compute", "", {}};
  Plot plot("loss-compute", "Loss over training compute", kComputeAxis, {"loss", true, TickText::kPlain}, 1040, 520);
  std::vector<double> c, low, high;
  std::vector<PlotPoint> frontier;
  for (const Advice& one : report.along_compute) {
    c.push_back(one.best.c);
    low.push_back(one.loss.low);
    high.push_back(one.loss.high);
    frontier.push_back({one.best.c, one.best.loss});
  }
  if (report.has_law()) {
    plot.band(c, low, high, 0);
    plot.include_y(low.back());
    plot.line(frontier, 0, false, "compute-optimal loss");
  }
  std::vector<SweepRun> runs = fitted_runs(report.table.runs);
  std::stable_sort(runs.begin(), runs.end(), [](const SweepRun& a, const SweepRun& b) { return a.c < b.c; });
  std::vector<PlotPoint> envelope;
  double best = HUGE_VAL;
  for (const SweepRun& run : runs) {
    if (run.loss >= best) continue;
    if (!envelope.empty()) envelope.push_back({run.c, best});
    best = run.loss;
    envelope.push_back({run.c, best});
  }
  plot.line(envelope, kMuted, true, "lowest loss so far");
  DataTable data({"run", "N", "D", "C", "loss", "predicted", "low", "high", "error", "kind"});
  const auto add = [&](const SweepRun& run, const char* kind) {
    constexpr double kNone = RunPoint::kUnknown;
    const Prediction prediction =
        report.has_law() ? predict_loss(report.fit, run) : Prediction{.loss = kNone, .interval = {kNone, kNone}};
    data.add({run.name, run.n, run.d, run.c, run.loss, prediction.loss, prediction.interval.low,
              prediction.interval.high, prediction.loss / run.loss - 1.0, kind});
    return prediction;
  };
  const auto title_of = [&](const SweepRun& run, const Prediction& prediction) {
    return report.has_law() ? run_title(run, prediction.loss) : run_title(run);
  };
  for (const SweepRun& run : runs) {
    plot.point({run.c, run.loss}, 0, Mark::kDot, title_of(run, add(run, report.has_law() ? "fitted" : "run")));
  }
  for (const SweepRun& run : report.table.filtered_out) {
    plot.point({run.c, run.loss}, kMuted, Mark::kRing, title_of(run, add(run, "filtered out")));
  }
  const std::vector<SweepRun> held_out = held_out_runs(report.table.runs);
  for (const SweepRun& run : held_out) {
    const Prediction prediction = add(run, "held out");
    const std::string title = title_of(run, prediction);
    if (report.has_law()) {
      plot.vertical_bar(run.c, prediction.interval.low, prediction.interval.high, 1, title);
      plot.point({run.c, run.loss}, 1, Mark::kStar, title, signed_percent(prediction.loss / run.loss - 1.0));
    } else {
      plot.point({run.c, run.loss}, 1, Mark::kStar, title);
    }
  }
  plot.legend(0, report.has_law() ? "runs, and the optimal loss of " + std::string(report.fit.fit.law->name) +
                                        " with its " + short_number(100.0 * report.fit.level) + " % prediction band"
                                  : "runs");
  plot.legend(kMuted, "lowest loss up to this compute", true);
  if (!held_out.empty()) {
    plot.legend(1, report.has_law() ? "held-out runs; bars: their predicted intervals" : "held-out runs");
  }
  if (!report.table.filtered_out.empty()) plot.legend(kMuted, "filtered out (rings)");
  section.data.emplace_back("runs.csv", data.csv());
  if (!report.has_law()) {
    section.html = figure(plot.html(), "Every run, and the lower envelope.");
    return section;
  }
  section.html =
      figure(plot.html(), std::string(held_out.empty() ? "Every run, the lower envelope and the fitted frontier. "
                                                       : "Stars: runs that the fit has not seen, with the "
                                                         "error of its prediction. ") +
                              cost_markup(report.cost));
  return section;
}

ReportSection surface_section(const SweepReport& report) {
  ReportSection section{"The fitted surface L(N, D)", "", {}};
  Plot plot("surface", "Contours of the fitted loss over parameters and tokens", kParameterAxis, kTokenAxis, 1040, 560);
  const Fit& fit = report.fit.fit;
  double low_n = HUGE_VAL, high_n = 0.0, low_d = HUGE_VAL, high_d = 0.0, low = HUGE_VAL, high = 0.0;
  for (const SweepRun& run : report.table.runs.runs) {
    low_n = std::min(low_n, run.n / 1.5);
    high_n = std::max(high_n, run.n * 1.5);
    low_d = std::min(low_d, run.d / 1.5);
    high_d = std::max(high_d, run.d * 1.5);
    low = std::min(low, run.loss);
    high = std::max(high, run.loss);
  }
  DataTable data({"loss", "N", "D"});
  constexpr int kLevels = 10, kSteps = 80;
  for (int level = 0; level < kLevels; ++level) {
    const double loss = low * std::pow(high / low, (level + 0.5) / kLevels);
    std::vector<PlotPoint> contour;
    for (int i = 0; i <= kSteps; ++i) {
      const double n = low_n * std::pow(high_n / low_n, static_cast<double>(i) / kSteps);
      const double d = tokens_for_loss(report, n, loss, low_d, high_d);
      if (std::isnan(d)) continue;
      contour.push_back({n, d});
      data.add({loss, n, d});
    }
    plot.line(contour, kMuted, false, "loss " + short_number(loss));
    if (!contour.empty()) plot.label(contour[contour.size() / 2], short_number(loss), kMuted);
  }
  std::vector<PlotPoint> frontier;
  for (const Advice& one : report.along_compute) frontier.push_back({one.best.n, one.best.d});
  plot.line(frontier, 1, false, "efficient frontier", false);
  for (const SweepRun& run : report.table.runs.runs) {
    plot.point({run.n, run.d}, run.held_out ? 1 : 0, run.held_out ? Mark::kStar : Mark::kDot,
               run_title(run, fit.predict(run)));
  }
  plot.legend(kMuted, "equal loss");
  plot.legend(1, "efficient frontier; stars: held out");
  plot.legend(0, "fitted runs");
  section.html = figure(plot.html(), "Lines of equal fitted loss, the cheapest way down, and where the runs lie. " +
                                         cost_markup(report.cost));
  section.data.emplace_back("surface.csv", data.csv());
  return section;
}

}  // namespace tsugi
