// What the fit leaves over, and what it would have foretold.
#include <algorithm>
#include <cmath>

#include "launch/report/marks.h"
#include "launch/report/page.h"
#include "launch/report/table.h"
#include "launch/sweep/fit_json.h"

namespace tsugi {
namespace {

/// The value that a share of all normally distributed values stays below, in standard deviations.
double normal_quantile(double share) {
  double low = -10.0, high = 10.0;
  for (int i = 0; i < 60; ++i) {
    const double middle = 0.5 * (low + high);
    (0.5 * std::erfc(-middle / std::sqrt(2.0)) < share ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

/// Residuals of the fitted runs in order, over what as many normal ones would be.
std::string quantile_plot(const SweepReport& report, ReportSection& section) {
  Plot plot("residual-quantiles", "Quantiles of the residuals over those of a normal distribution",
            {"normal quantile (standard deviations)", false, TickText::kPlain},
            {"predicted over measured loss, - 1", false, TickText::kPercent}, 560, 330);
  struct Residual {
    const SweepRun* run;
    double value;
  };
  std::vector<Residual> residuals;
  double mean = 0.0, square = 0.0;
  for (const SweepRun& run : report.table.runs.runs) {
    if (run.held_out) continue;
    residuals.push_back({&run, report.fit.fit.predict(run) / run.loss - 1.0});
    mean += residuals.back().value;
    square += residuals.back().value * residuals.back().value;
  }
  const double count = static_cast<double>(residuals.size());
  mean /= count;
  const double deviation = std::sqrt(std::max(0.0, square / count - mean * mean));
  std::ranges::stable_sort(residuals, {}, &Residual::value);
  DataTable data({"run", "residual", "normal quantile"});
  for (size_t i = 0; i < residuals.size(); ++i) {
    const double quantile = normal_quantile((static_cast<double>(i) + 0.5) / count);
    plot.point({quantile, 100.0 * residuals[i].value}, 0, Mark::kDot,
               residuals[i].run->name + "\n" + signed_percent(residuals[i].value));
    data.add({residuals[i].run->name, residuals[i].value, quantile});
  }
  const double end = normal_quantile(0.5 / count);
  plot.line({{end, 100.0 * (mean + end * deviation)}, {-end, 100.0 * (mean - end * deviation)}}, kInk, true,
            "normal, standard deviation " + percent(deviation));
  section.data.emplace_back("residual_quantiles.csv", data.csv());
  return plot.html();
}

std::string measured_plot(const SweepReport& report) {
  Plot plot("predicted-measured", "Predicted over measured loss", {"measured loss", true, TickText::kPlain},
            {"predicted loss", true, TickText::kPlain}, 560, 330);
  double low = HUGE_VAL, high = 0.0;
  for (const SweepRun& run : report.table.runs.runs) {
    const double predicted = report.fit.fit.predict(run);
    low = std::min({low, run.loss, predicted});
    high = std::max({high, run.loss, predicted});
    plot.point({run.loss, predicted}, run.held_out ? 1 : 0, run.held_out ? Mark::kStar : Mark::kDot,
               run_title(run, predicted));
  }
  plot.line({{low, low}, {high, high}}, kInk, true);
  return plot.html();
}

}  // namespace

ReportSection residual_section(const SweepReport& report) {
  ReportSection section{"What the fit leaves over", "<div class=\"figures\">\n", {}};
  struct View {
    const char* id;
    Axis axis;
    double (*value)(const SweepRun&);
  };
  const View views[] = {{"residual-n", kParameterAxis, [](const SweepRun& run) { return run.n; }},
                        {"residual-d", kTokenAxis, [](const SweepRun& run) { return run.d; }},
                        {"residual-c", kComputeAxis, [](const SweepRun& run) { return run.c; }},
                        {"residual-ratio",
                         {"tokens per parameter D/N", true, TickText::kCount},
                         [](const SweepRun& run) { return run.d / run.n; }}};
  for (const View& view : views) {
    Plot plot(view.id, "Residuals over " + view.axis.label, view.axis,
              {"predicted over measured loss, - 1", false, TickText::kPercent}, 560, 330);
    double low = HUGE_VAL, high = 0.0;
    for (const SweepRun& run : report.table.runs.runs) {
      const double predicted = report.fit.fit.predict(run);
      low = std::min(low, view.value(run));
      high = std::max(high, view.value(run));
      plot.point({view.value(run), 100.0 * (predicted / run.loss - 1.0)}, run.held_out ? 1 : 0,
                 run.held_out ? Mark::kStar : Mark::kDot, run_title(run, predicted));
    }
    plot.line({{low, 0.0}, {high, 0.0}}, kInk, true);
    section.html += figure(plot.html(), "");
  }
  section.html += figure(quantile_plot(report, section), "");
  section.html += figure(measured_plot(report), "");
  section.html +=
      "</div>\n<p>A trend over N, D, C or D/N is something that the law does not know. Residuals of a normal "
      "distribution lie on the dashed line of quantiles; ends that leave it are outliers. Stars: held-out runs.</p>\n";
  return section;
}

ReportSection backtest_section(const SweepReport& report) {
  ReportSection section{"Which form to believe: the back-test", "", {}};
  const Backtest& ranking = report.ranking;
  DataTable data({"form", "cut C", "fitted", "predicted", "mean |error|", "largest |error|", "bias"});
  Plot plot("backtest", "Error of the forms on dearer runs over the compute they were fitted to",
            {"largest compute fitted (FLOP)", true, TickText::kScientific},
            {"mean |error| on dearer runs", false, TickText::kPercent}, 1040, 400);
  plot.include_y(0.0);
  DataTable table(
      {"rank", "form", "mean |error| of the back-test", "on the fitted runs", "on held-out runs", "refused"});
  int colour = 0;
  for (const BacktestForm& form : ranking.forms) {
    if (!form.refused.empty()) {
      table.add({"-", form.law->name, RunPoint::kUnknown, RunPoint::kUnknown, RunPoint::kUnknown, form.refused});
      continue;
    }
    std::vector<PlotPoint> line;
    for (size_t i = 0; i < form.cuts.size(); ++i) {
      const RelativeError& error = form.cuts[i];
      if (error.runs == 0) continue;
      const BacktestCut& cut = ranking.cuts[i];
      data.add({form.law->name, cut.c, static_cast<double>(cut.fitted), static_cast<double>(cut.predicted), error.mean,
                error.largest, error.bias});
      line.push_back({cut.c, 100.0 * error.mean});
      plot.point(line.back(), colour, Mark::kDot,
                 std::string(form.law->name) + ": " + std::to_string(cut.fitted) + " runs fitted, " +
                     std::to_string(cut.predicted) + " predicted, " + percent(error.mean));
    }
    plot.line(line, colour, false, form.law->name);
    plot.legend(colour, form.law->name);
    const double mean = ranking.cuts.empty() ? RunPoint::kUnknown : form.mean;
    const double held_out = form.held_out.runs > 0 ? form.held_out.mean : RunPoint::kUnknown;
    table.add({static_cast<double>(++colour),
               form.law->name,
               {mean, percent(mean)},
               {form.fitted.mean, percent(form.fitted.mean)},
               {held_out, percent(held_out)},
               ""});
  }
  section.html = ranking.cuts.empty()
                     ? "<p>Too few runs for a back-test: it needs eight runs below a cut and one above.</p>\n"
                     : figure(plot.html(), "Each form is fitted to the cheaper runs and judged on the dearer ones.");
  section.html += table.html();
  section.data.emplace_back("backtest.csv", data.csv());
  section.data.emplace_back("forms.csv", table.csv());
  return section;
}

}  // namespace tsugi
