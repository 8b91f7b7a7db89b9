// What each budget says, and the line through them: approach 2's curves, optimal sizes and tokens over compute.
#include <cmath>

#include "launch/report/marks.h"
#include "launch/report/page.h"
#include "launch/report/table.h"
#include "launch/sweep/fit_json.h"

namespace tsugi {
namespace {

void add_parabola(Plot& plot, const IsoflopBudget& budget, int colour) {
  if (!(budget.n_optimal > 0.0) || !std::isfinite(budget.n_optimal) || !(budget.curvature > 0.0)) return;
  std::vector<PlotPoint> curve;
  const double low = std::log(budget.smallest_n) - 0.1, high = std::log(budget.largest_n) + 0.1;
  for (int i = 0; i <= 60; ++i) {
    const double x = low + (high - low) * i / 60.0, u = x - std::log(budget.n_optimal);
    curve.push_back({std::exp(x), budget.loss_optimal + 0.5 * budget.curvature * u * u});
  }
  plot.line(std::move(curve), colour, !budget.used, "", budget.used);
}

}  // namespace

ReportSection isoflop_section(const SweepReport& report) {
  ReportSection section{"IsoFLOP curves", "", {}};
  const std::vector<SweepRun> runs = fitted_runs(report.table.runs);
  Plot plot("isoflop", "Loss over parameters at each compute budget", kParameterAxis, {"loss", false, TickText::kPlain},
            1040, 520);
  const std::vector<IsoflopBudget>& budgets = report.isoflop ? report.isoflop->budgets : report.budgets;
  DataTable data({"budget", "sizes", "N*", "N* low", "N* high", "D*", "loss*", "curvature", "used", "reason"});
  const std::vector<Budget> groups = budgets.empty() ? std::vector<Budget>{} : group_budgets(runs);
  std::string refused;
  if (budgets.empty()) {  // a grid or a ladder
    for (const SweepRun& run : runs) plot.point({run.n, run.loss}, kMuted, Mark::kDot, run_title(run));
  }
  for (size_t g = 0; g < groups.size(); ++g) {
    const IsoflopBudget& budget = budgets[g];
    const int shade = budget.used ? ramp_colour(g, groups.size()) : kMuted;
    add_parabola(plot, budget, shade);
    for (const size_t i : groups[g].runs) plot.point({runs[i].n, runs[i].loss}, shade, Mark::kDot, run_title(runs[i]));
    if (budget.used) {
      const std::string interval =
          report.isoflop ? " (" + count_text(budget.n_interval.low) + " to " + count_text(budget.n_interval.high) + ")"
                         : "";
      const std::string title = "C " + scientific_text(budget.c) + ": N* " + count_text(budget.n_optimal) + interval +
                                ", D* " + count_text(budget.d_optimal) + ", loss " + short_number(budget.loss_optimal);
      if (report.isoflop) {
        plot.horizontal_bar(budget.loss_optimal, budget.n_interval.low, budget.n_interval.high, shade, title);
      }
      plot.point({budget.n_optimal, budget.loss_optimal}, shade, Mark::kStar, title);
    } else {
      refused += "<li>" + escape_markup(budget.reason) + "</li>";
    }
    plot.legend(shade, scientific_text(budget.c) + " FLOP" + (budget.used ? "" : " (not used)"), !budget.used);
    data.add({budget.c, static_cast<double>(budget.sizes), budget.n_optimal, budget.n_interval.low,
              budget.n_interval.high, budget.d_optimal, budget.loss_optimal, budget.curvature,
              budget.used ? "yes" : "no", budget.reason});
  }
  const std::string caption =
      report.isoflop
          ? "Each budget's runs and its parabola of the loss in ln N. Stars: the minimum, with its bootstrap "
            "interval. Grey: budgets whose minimum cannot be believed."
          : "<b>No line through the minima.</b> " + escape_markup(report.isoflop_refusal);
  section.html = figure(plot.html(), caption);
  if (!refused.empty()) section.html += "<ul class=\"notes\">" + refused + "</ul>\n";
  section.data.emplace_back("isoflop.csv", data.csv());
  return section;
}

ReportSection optimum_section(const SweepReport& report) {
  ReportSection section{"Compute-optimal size and tokens", "", {}};
  const double level = report.fit.level;
  Plot n("optimal-n", "Optimal parameters over compute", kComputeAxis,
         {"optimal parameters N*", true, TickText::kCount}, 580, 400);
  Plot d("optimal-d", "Optimal tokens over compute", kComputeAxis, {"optimal tokens D*", true, TickText::kCount}, 580,
         400);
  Plot ratio("tokens-per-parameter", "Optimal tokens per parameter over compute", kComputeAxis,
             {"tokens per parameter D*/N*", true, TickText::kCount}, 1040, 430);
  std::vector<double> c, n_low, n_high, d_low, d_high, ratio_low, ratio_high;
  std::vector<PlotPoint> n_line, d_line, ratio_line, n_twenty, d_twenty, n_half, d_half;
  const Advice& middle = report.along_compute[report.along_compute.size() / 2];
  DataTable law_data({"C", "N*", "N* low", "N* high", "D*", "D* low", "D* high", "D*/N*", "D*/N* low", "D*/N* high",
                      "loss", "loss low", "loss high", "times the largest fitted C"});
  for (const Advice& one : report.along_compute) {
    const double compute = one.best.c;
    c.push_back(compute);
    n_low.push_back(one.n.low);
    n_high.push_back(one.n.high);
    d_low.push_back(one.d.low);
    d_high.push_back(one.d.high);
    ratio_low.push_back(one.tokens_per_parameter.low);
    ratio_high.push_back(one.tokens_per_parameter.high);
    n_line.push_back({compute, one.best.n});
    d_line.push_back({compute, one.best.d});
    ratio_line.push_back({compute, one.best.d / one.best.n});
    // C = coefficient · N^exponent · 20 N.
    const double twenty = std::pow(compute / (20.0 * report.cost.coefficient), 1.0 / (1.0 + report.cost.exponent));
    n_twenty.push_back({compute, twenty});
    d_twenty.push_back({compute, 20.0 * twenty});
    n_half.push_back({compute, middle.best.n * std::sqrt(compute / middle.best.c)});
    d_half.push_back({compute, middle.best.d * std::sqrt(compute / middle.best.c)});
    law_data.add({compute, one.best.n, one.n.low, one.n.high, one.best.d, one.d.low, one.d.high,
                  one.best.d / one.best.n, one.tokens_per_parameter.low, one.tokens_per_parameter.high, one.best.loss,
                  one.loss.low, one.loss.high, one.extrapolation});
  }
  n.band(c, n_low, n_high, 0);
  d.band(c, d_low, d_high, 0);
  ratio.band(c, ratio_low, ratio_high, 0);
  n.line(n_twenty, kMuted, true, "20 tokens per parameter", false);
  d.line(d_twenty, kMuted, true, "20 tokens per parameter", false);
  n.line(n_half, kInk, true, "exponent 0.5", false);
  d.line(d_half, kInk, true, "exponent 0.5", false);
  ratio.line({{c.front(), 20.0}, {c.back(), 20.0}}, kMuted, true, "20 tokens per parameter");
  const std::string form = report.fit.fit.law->name;
  n.line(n_line, 0, false, form);
  d.line(d_line, 0, false, form);
  ratio.line(ratio_line, 0, false, form);
  for (Plot* plot : {&n, &d, &ratio}) plot->legend(0, form + ", " + short_number(100.0 * level) + " % band");

  const Law& law = *report.fit.fit.law;
  const Interval a = report.fit.interval_of(
      [&](const Theta& theta) { return parameter_exponent(law, theta, middle.best.c, report.cost); });
  std::string exponents = form + ": N* grows as C<sup>a</sup>, a = " +
                          short_number(parameter_exponent(law, report.fit.fit.theta, middle.best.c, report.cost)) +
                          " " + short_interval(a);
  section.data.emplace_back("optimum.csv", law_data.csv());
  if (report.isoflop) {
    const ComputeOptimal& fit = *report.isoflop;
    DataTable data({"C", "N*", "N* low", "N* high", "D*", "D* low", "D* high", "loss", "loss low", "loss high"});
    std::vector<double> lower_n, upper_n, lower_d, upper_d;
    std::vector<PlotPoint> line_n, line_d, line_ratio;
    for (const double compute : c) {
      const ComputeOptimalAdvice one = advise(fit, compute, level);
      lower_n.push_back(one.n_interval.low);
      upper_n.push_back(one.n_interval.high);
      lower_d.push_back(one.d_interval.low);
      upper_d.push_back(one.d_interval.high);
      line_n.push_back({compute, one.n});
      line_d.push_back({compute, one.d});
      line_ratio.push_back({compute, one.d / one.n});
      data.add({compute, one.n, one.n_interval.low, one.n_interval.high, one.d, one.d_interval.low, one.d_interval.high,
                one.loss, one.loss_interval.low, one.loss_interval.high});
    }
    n.band(c, lower_n, upper_n, 1);
    d.band(c, lower_d, upper_d, 1);
    n.line(line_n, 1, false, "isoFLOP");
    d.line(line_d, 1, false, "isoFLOP");
    ratio.line(line_ratio, 1, false, "isoFLOP");
    for (const IsoflopBudget& budget : fit.budgets) {
      if (!budget.used) continue;
      const std::string title = "C " + scientific_text(budget.c) + ": N* " + count_text(budget.n_optimal) + ", D* " +
                                count_text(budget.d_optimal);
      n.vertical_bar(budget.c, budget.n_interval.low, budget.n_interval.high, 1, title);
      n.point({budget.c, budget.n_optimal}, 1, Mark::kStar, title);
      d.point({budget.c, budget.d_optimal}, 1, Mark::kStar, title);
      ratio.point({budget.c, budget.d_optimal / budget.n_optimal}, 1, Mark::kStar, title);
    }
    for (Plot* plot : {&n, &d, &ratio}) plot->legend(1, "isoFLOP minima and their line");
    exponents += "; isoFLOP: a = " + short_number(fit.n.exponent) + " " + short_interval(fit.n_exponent) +
                 ", b = " + short_number(fit.d.exponent) + " " + short_interval(fit.d_exponent);
    section.data.emplace_back("isoflop_optimum.csv", data.csv());
  }
  for (Plot* plot : {&n, &d}) {
    plot->legend(kInk, "exponent 0.5", true);
    plot->legend(kMuted, "20 tokens per parameter", true);
  }
  ratio.legend(kMuted, "20 tokens per parameter", true);
  section.html = "<p>" + exponents + ". " + cost_markup(report.cost) + "</p>\n<div class=\"figures\">\n" +
                 figure(n.html(), "Optimal parameters of a budget.") + figure(d.html(), "Optimal tokens of a budget.") +
                 "<div class=\"wide\">" + figure(ratio.html(), "Tokens per parameter at the optimum.") +
                 "</div></div>\n";
  return section;
}

}  // namespace tsugi
