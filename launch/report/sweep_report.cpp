#include "launch/report/sweep_report.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "launch/report/page.h"
#include "launch/report/svg.h"
#include "launch/sweep/fit_json.h"

namespace tsugi {
namespace {

std::string fact(const std::string& value, const std::string& meaning) {
  return "<div><b>" + escape_markup(value) + "</b><span>" + escape_markup(meaning) + "</span></div>\n";
}

std::string facts(const SweepReport& report) {
  const std::vector<SweepRun> fitted = fitted_runs(report.table.runs), held_out = held_out_runs(report.table.runs);
  double flops = 0.0;
  for (const SweepRun& run : report.table.runs.runs) flops += run.c;
  std::string out = "<div class=\"facts\">\n";
  out += fact(std::to_string(fitted.size()), report.has_law() ? "runs fitted" : "runs to fit");
  out += fact(scientific_text(flops), "FLOP in all runs");
  if (!report.has_law()) {
    const auto best = std::ranges::min_element(report.table.runs.runs, {}, &SweepRun::loss);
    return out + fact(short_number(best->loss), "the lowest loss") + fact("none", "law that these runs determine") +
           "</div>\n";
  }
  out += fact(report.fit.fit.law->name,
              "form, " + percent(relative_error(report.fit.fit, fitted).mean) + " mean |error| on its runs");
  if (!held_out.empty()) {
    int inside = 0;
    for (const SweepRun& run : held_out) {
      const Interval interval = predict_loss(report.fit, run).interval;
      if (interval.low <= run.loss && run.loss <= interval.high) ++inside;
    }
    out += fact(percent(relative_error(report.fit.fit, held_out).mean), "mean |error| on held-out runs");
    out +=
        fact(std::to_string(inside) + " of " + std::to_string(held_out.size()), "held-out runs inside their interval");
  }
  return out + "</div>\n";
}

/// In place of all that needs a law.
ReportSection no_law_section(const SweepReport& report) {
  std::string html = "<p class=\"warning\"><b>No law could be fitted to these runs.</b> " +
                     escape_markup(report.law_refusal) + "</p>\n";
  if (!report.law_hint.empty()) html += "<p><b>What to add:</b> " + escape_markup(report.law_hint) + "</p>\n";
  if (report.isoflop) {
    const ComputeOptimal& line = *report.isoflop;
    html += "<p>The minima of the budgets below need no law: N* grows as C<sup>a</sup>, a = " +
            short_number(line.n.exponent) + " " + short_interval(line.n_exponent) +
            ", D* as C<sup>b</sup>, b = " + short_number(line.d.exponent) + " " + short_interval(line.d_exponent) +
            ".</p>\n";
  }
  return {"What these runs do not tell",
          html + "<p>So this page predicts nothing and advises on no budget. It shows what was trained.</p>\n",
          {}};
}

std::vector<ReportSection> sections_without_law(const SweepReport& report) {
  std::vector<ReportSection> sections{no_law_section(report), isoflop_section(report), loss_section(report),
                                      size_section(report), tuning_section(report)};
  if (std::optional<ReportSection> task = downstream_section(report)) sections.push_back(std::move(*task));
  std::ranges::move(table_sections(report), std::back_inserter(sections));
  return sections;
}

std::vector<ReportSection> sections_of_law(const SweepReport& report) {
  std::vector<ReportSection> sections{isoflop_section(report), loss_section(report), optimum_section(report),
                                      size_section(report)};
  std::vector<ReportSection> tables = table_sections(report);
  sections.push_back(std::move(tables.front()));  // the law
  sections.push_back(bootstrap_section(report));
  sections.push_back(backtest_section(report));
  sections.push_back(residual_section(report));
  sections.push_back(exponent_section(report));
  sections.push_back(surface_section(report));
  sections.push_back(misallocation_section(report));
  sections.push_back(tuning_section(report));
  if (std::optional<ReportSection> task = downstream_section(report)) sections.push_back(std::move(*task));
  sections.insert(sections.end(), std::make_move_iterator(tables.begin() + 1), std::make_move_iterator(tables.end()));
  return sections;
}

}  // namespace

void follow_optimum(SweepReport& report, const std::vector<double>& budgets) {
  constexpr int kSteps = 24;
  const std::vector<SweepRun> fitted = fitted_runs(report.table.runs);
  report.cost = compute_cost_of(fitted);
  report.smallest_fitted_c = std::ranges::min_element(fitted, {}, &SweepRun::c)->c;
  report.largest_fitted_c = std::ranges::max_element(fitted, {}, &SweepRun::c)->c;
  double low = HUGE_VAL, high = 0.0;
  for (const SweepRun& run : report.table.runs.runs) {
    low = std::min(low, run.c);
    high = std::max(high, run.c);
  }
  for (const double c : budgets) {
    report.advice.push_back(advise(report.fit, c, report.largest_fitted_c, RunPoint::kUnknown, report.cost));
  }
  for (const WrittenPrediction& one : report.predictions) high = std::max(high, one.c);
  for (const Advice& one : report.advice) high = std::max(high, one.best.c);
  low /= 1.2;
  high *= 1.2;
  report.along_compute.clear();
  for (int i = 0; i <= kSteps; ++i) {
    const double c = low * std::pow(high / low, static_cast<double>(i) / kSteps);
    report.along_compute.push_back(advise(report.fit, c, report.largest_fitted_c, RunPoint::kUnknown, report.cost));
  }
}

RenderedReport render_report(const SweepReport& report) {
  std::vector<ReportSection> sections = report.has_law() ? sections_of_law(report) : sections_without_law(report);
  RenderedReport rendered;
  rendered.html = page(report.title, facts(report), sections);
  for (ReportSection& section : sections) {
    for (auto& file : section.data) rendered.data.push_back(std::move(file));
  }
  return rendered;
}

}  // namespace tsugi
