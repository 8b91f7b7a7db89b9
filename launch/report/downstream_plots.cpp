// What lower loss is worth: accuracy on a labelled task after fine-tuning, over N, D and loss.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>

#include "core/data/csv.h"
#include "launch/report/marks.h"
#include "launch/report/page.h"
#include "launch/report/table.h"
#include "launch/sweep/fit_json.h"

namespace tsugi {
namespace {

struct ScoredRun {
  const SweepRun* run;
  double accuracy;
};

/// A further column of the table as numbers.
double further_number(const SweepReport& report, const std::string& run, const std::string& column) {
  const auto at = std::ranges::find(report.other_columns, column);
  const auto row = report.others.find(run);
  double value = 0.0;
  if (at == report.other_columns.end() || row == report.others.end()) return RunPoint::kUnknown;
  const std::string& text = row->second[static_cast<size_t>(at - report.other_columns.begin())];
  return parse_csv_number(text, value) ? value : RunPoint::kUnknown;
}

/// Ranks from 1, equal values sharing the mean of theirs.
std::vector<double> ranks_of(const std::vector<double>& values) {
  std::vector<double> ranks;
  for (const double value : values) {
    double below = 0.0, equal = 0.0;
    for (const double other : values) {
      below += other < value ? 1.0 : 0.0;
      equal += other == value ? 1.0 : 0.0;
    }
    ranks.push_back(below + 0.5 * (equal + 1.0));
  }
  return ranks;
}

std::string two_decimals(double value) {
  char text[16];
  std::snprintf(text, sizeof text, "%.2f", value);
  return text;
}

/// Spearman's rank correlation; NaN where one side does not vary.
double rank_correlation(const std::vector<double>& x, const std::vector<double>& y) {
  const std::vector<double> a = ranks_of(x), b = ranks_of(y);
  const double mean = 0.5 * (static_cast<double>(x.size()) + 1.0);
  double ab = 0.0, aa = 0.0, bb = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    ab += (a[i] - mean) * (b[i] - mean);
    aa += (a[i] - mean) * (a[i] - mean);
    bb += (b[i] - mean) * (b[i] - mean);
  }
  return aa > 0.0 && bb > 0.0 ? ab / std::sqrt(aa * bb) : RunPoint::kUnknown;
}

}  // namespace

std::optional<ReportSection> downstream_section(const SweepReport& report) {
  std::vector<ScoredRun> scored;
  double majority = RunPoint::kUnknown, ngrams = RunPoint::kUnknown;
  for (const SweepRun& run : report.table.runs.runs) {
    const double accuracy = further_number(report, run.name, "accuracy");
    if (std::isnan(accuracy)) continue;
    scored.push_back({&run, accuracy});
    majority = further_number(report, run.name, "accuracy_majority");
    ngrams = further_number(report, run.name, "accuracy_ngrams");
  }
  if (scored.empty()) return std::nullopt;

  struct View {
    const char* id;
    const char* description;
    Axis axis;
    double SweepRun::* value;
  };
  const View views[] = {
      {"downstream-loss", "Accuracy over the loss of pretraining", {"loss", true, TickText::kPlain}, &SweepRun::loss},
      {"downstream-n", "Accuracy over parameters", kParameterAxis, &SweepRun::n},
      {"downstream-d", "Accuracy over training tokens", kTokenAxis, &SweepRun::d},
      {"downstream-c", "Accuracy over training compute", kComputeAxis, &SweepRun::c},
  };
  ReportSection section{"What it is worth: accuracy on a task", "<div class=\"figures\">\n", {}};
  for (const View& view : views) {
    Plot plot(view.id, view.description, view.axis, {"accuracy after fine-tuning", false, TickText::kPercent}, 560,
              330);
    std::vector<double> x, y;
    for (const auto& [run, accuracy] : scored) {
      x.push_back(run->*view.value);
      y.push_back(accuracy);
      plot.point({x.back(), 100.0 * accuracy}, run->held_out ? 1 : 0, run->held_out ? Mark::kStar : Mark::kDot,
                 run_title(*run) + "\naccuracy " + percent(accuracy));
    }
    const auto [low, high] = std::ranges::minmax(x);
    const auto level = [&](double accuracy, int colour, const std::string& what) {
      if (!std::isfinite(accuracy)) return;
      plot.line({{low, 100.0 * accuracy}, {high, 100.0 * accuracy}}, colour, true, what + ": " + percent(accuracy));
      plot.legend(colour, what, true);
    };
    level(majority, kMuted, "always the most frequent label");
    level(ngrams, 2, "naive Bayes on byte n-grams");
    const double correlation = rank_correlation(x, y);
    section.html += figure(
        plot.html(), std::isnan(correlation) ? "" : "Rank correlation (Spearman) " + two_decimals(correlation) + ".");
  }
  DataTable data({"run", "N", "D", "C", "loss", "accuracy", "majority", "n-grams", "held out"});
  for (const auto& [run, accuracy] : scored) {
    data.add({run->name,
              {run->n, count_text(run->n)},
              {run->d, count_text(run->d)},
              {run->c, scientific_text(run->c)},
              run->loss,
              {accuracy, percent(accuracy)},
              {majority, percent(majority)},
              {ngrams, percent(ngrams)},
              run->held_out ? "yes" : ""});
  }
  section.html += "</div>\n" + data.html();
  section.data.emplace_back("downstream.csv", data.csv());
  return section;
}

}  // namespace tsugi
