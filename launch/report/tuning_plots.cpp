// Exponents under other conventions, and what learning rate and batch do to one size.
#include <algorithm>
#include <cmath>
#include <set>

#include "launch/report/marks.h"
#include "launch/report/page.h"
#include "launch/report/table.h"
#include "launch/sweep/fit_json.h"

namespace tsugi {
namespace {

/// Runs of one size and length that differ in learning rate or batch.
struct Tuned {
  std::vector<SweepRun> runs;
  std::set<double> rates, batches;
};

std::vector<Tuned> tuned_groups(const SweepReport& report) {
  std::vector<SweepRun> all = report.table.runs.runs;
  all.insert(all.end(), report.table.filtered_out.begin(), report.table.filtered_out.end());
  std::erase_if(all, [](const SweepRun& run) { return !std::isfinite(run.learning_rate); });
  std::vector<Tuned> groups;
  for (const std::vector<SweepRun>& size : runs_by_size(all)) {
    std::vector<Tuned> lengths;
    for (const SweepRun& run : size) {
      if (lengths.empty() || run.d > 1.01 * lengths.back().runs.front().d) lengths.emplace_back();
      lengths.back().runs.push_back(run);
      lengths.back().rates.insert(run.learning_rate);
      if (std::isfinite(run.batch)) lengths.back().batches.insert(run.batch);
    }
    for (Tuned& one : lengths) {
      if (one.rates.size() >= 3) groups.push_back(std::move(one));
    }
  }
  // Those that say most first.
  std::ranges::stable_sort(groups, std::greater<>(), [](const Tuned& one) { return one.runs.size(); });
  return groups;
}

/// Cells of a heat map end half-way (in logarithms) to their neighbours.
std::vector<double> edges(const std::set<double>& values) {
  const std::vector<double> at(values.begin(), values.end());
  std::vector<double> result;
  for (size_t i = 0; i + 1 < at.size(); ++i) result.push_back(std::sqrt(at[i] * at[i + 1]));
  if (result.empty()) return {at[0] / 1.5, at[0] * 1.5};
  result.insert(result.begin(), at.front() * at.front() / result.front());
  result.push_back(at.back() * at.back() / result.back());
  return result;
}

double lowest_loss(const std::vector<SweepRun>& runs) {
  return std::ranges::min_element(runs, {}, &SweepRun::loss)->loss;
}

std::string heat_map(const Tuned& group, size_t number, DataTable& data) {
  Plot plot("tuning-" + std::to_string(number), "Loss over learning rate and batch",
            {"peak learning rate", true, TickText::kPlain}, {"batch (tokens)", true, TickText::kCount}, 580, 380);
  const double lowest = lowest_loss(group.runs);
  const std::vector<double> x = edges(group.rates), y = edges(group.batches);
  const std::vector<double> rates(group.rates.begin(), group.rates.end());
  const std::vector<double> batches(group.batches.begin(), group.batches.end());
  constexpr double kNear = 0.0025, kFar = 0.05;
  for (size_t i = 0; i < rates.size(); ++i) {
    for (size_t j = 0; j < batches.size(); ++j) {
      const SweepRun* best = nullptr;  // of several seeds
      for (const SweepRun& run : group.runs) {
        if (run.learning_rate != rates[i] || run.batch != batches[j]) continue;
        data.add({run.name, run.n, run.d, run.learning_rate, run.batch, run.loss, run.loss / lowest - 1.0});
        if (best == nullptr || run.loss < best->loss) best = &run;
      }
      if (best == nullptr) continue;
      const double extra = best->loss / lowest - 1.0;
      const double shade = 1.0 - std::min(1.0, std::sqrt(extra / kFar));
      plot.cell({x[i], y[j]}, {x[i + 1], y[j + 1]}, ramp_colour(static_cast<size_t>(9.0 * shade), 10), extra <= kNear,
                run_title(*best) + "\nlearning rate " + short_number(rates[i]) + ", batch " + count_text(batches[j]) +
                    ", " + signed_percent(extra),
                extra == 0.0 ? short_number(best->loss) : "+" + short_number(std::round(1000.0 * extra) / 10.0) + "%");
    }
  }
  return plot.html();
}

std::string rate_curve(const Tuned& group, size_t number, DataTable& data) {
  Plot plot("tuning-" + std::to_string(number), "Loss over learning rate",
            {"peak learning rate", true, TickText::kPlain}, {"loss", false, TickText::kPlain}, 580, 380);
  std::vector<SweepRun> runs = group.runs;
  std::ranges::stable_sort(runs, {}, &SweepRun::learning_rate);
  const double lowest = lowest_loss(runs);
  std::vector<PlotPoint> line;
  for (const SweepRun& run : runs) {
    data.add({run.name, run.n, run.d, run.learning_rate, run.batch, run.loss, run.loss / lowest - 1.0});
    line.push_back({run.learning_rate, run.loss});
    plot.point(line.back(), 0, run.loss == lowest ? Mark::kStar : Mark::kDot,
               run_title(run) + "\nlearning rate " + short_number(run.learning_rate));
  }
  plot.line(line, 0);
  return plot.html();
}

}  // namespace

ReportSection tuning_section(const SweepReport& report) {
  ReportSection section{"Learning rate and batch", "", {}};
  constexpr size_t kMost = 4;
  std::vector<Tuned> groups = tuned_groups(report);
  if (groups.empty()) {
    section.html =
        "<p class=\"empty\"><b>No plot.</b> No size was trained for the same tokens at three learning rates or more "
        "(columns lr and batch), so this table cannot say whether its runs were tuned. If the rule for learning rate "
        "or batch misses more at some sizes than at others, that error is in the law.</p>\n";
    return section;
  }
  const size_t found = groups.size();
  if (groups.size() > kMost) groups.resize(kMost);
  DataTable data({"run", "N", "D", "learning rate", "batch", "loss", "above the best"});
  section.html = "<div class=\"figures\">\n";
  for (size_t i = 0; i < groups.size(); ++i) {
    const Tuned& group = groups[i];
    const SweepRun& any = group.runs.front();
    section.html += figure(
        group.batches.size() > 1 ? heat_map(group, i, data) : rate_curve(group, i, data),
        "N " + count_text(any.n) + ", D " + count_text(any.d) + ": " + std::to_string(group.runs.size()) + " runs.");
  }
  section.html +=
      "</div>\n<p>Light cells are near the best, in whose cell its loss stands; the others say how far above "
      "it they are. Outlined: within 0.25 %.";
  if (found > kMost)
    section.html += " The " + std::to_string(kMost) + " largest of " + std::to_string(found) + " groups.";
  section.html += "</p>\n";
  section.data.emplace_back("tuning.csv", data.csv());
  return section;
}

ReportSection exponent_section(const SweepReport& report) {
  ReportSection section{"How the exponent depends on conventions", "", {}};
  DataTable data({"what", "group", "a", "a low", "a high", "b = 1 - a", "refused"});
  Axis rows{"", false, TickText::kPlain};
  std::vector<const ExponentEstimate*> shown;
  std::string refused;
  for (const ExponentEstimate& one : report.exponents) {
    data.add({one.name, one.group, one.exponent, one.interval.low, one.interval.high, 1.0 - one.exponent, one.refused});
    if (std::isfinite(one.exponent)) {
      rows.categories.push_back(one.name);
      shown.push_back(&one);
    } else {
      refused += "<li>" + escape_markup(one.name + ": " + one.refused) + "</li>\n";
    }
  }
  Plot plot("exponents", "The exponent a of N* over compute under other forms and counts",
            {"exponent a of N* ∝ Cᵃ", false, TickText::kPlain}, rows, 1040, 90 + 34 * static_cast<int>(shown.size()));
  for (size_t i = 0; i < shown.size(); ++i) {
    const ExponentEstimate& one = *shown[i];
    const double y = -static_cast<double>(i);
    const int colour = i == 0 ? 1 : one.group == "form" ? 0 : 2;
    const std::string title = one.name + "\na " + short_number(one.exponent) + " " + short_interval(one.interval);
    plot.horizontal_bar(y, one.interval.low, one.interval.high, colour, title);
    plot.point({one.exponent, y}, colour, i == 0 ? Mark::kStar : Mark::kDot, title, short_number(one.exponent));
  }
  plot.line({{0.5, 0.5}, {0.5, 0.5 - static_cast<double>(shown.size())}}, kInk, true, "0.5");
  plot.legend(1, "this report");
  plot.legend(0, "another form");
  plot.legend(2, "counted otherwise");
  plot.legend(kInk, "0.5: size and tokens grow alike", true);
  section.html = figure(plot.html(), "The same runs; only the form, or what N and C count, is different.");
  if (!refused.empty()) section.html += "<ul class=\"notes\">\n" + refused + "</ul>\n";
  section.data.emplace_back("exponents.csv", data.csv());
  return section;
}

}  // namespace tsugi
