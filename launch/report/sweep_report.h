// A sweep as one page: what was run, what law it follows, how far to believe it.
//
// Plots after Hoffmann et al. 2022 (figures 2 to 4), Besiroglu et al. 2024 (residuals, tokens per parameter) and Bhagia
// et al. 2024 (held-out runs with their errors).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/scaling/advice/allocation.h"
#include "core/scaling/data/read_sweep.h"
#include "core/scaling/fit/backtest.h"
#include "core/scaling/fit/isoflop.h"
#include "core/scaling/fit/prediction_file.h"
#include "core/scaling/fit/sweep_fit.h"
#include "launch/report/exponents.h"
#include "launch/sweep/advised_settings.h"

namespace tsugi {

/// A run of the CSV file that took no part in anything, and why.
struct ExcludedRun {
  std::string name, reason;
};

struct SweepReport {
  std::string title;
  SweepTable table;      ///< every run with n, d and c
  SweepFit fit;          ///< a law of n and d; nothing where law_refusal is not empty
  std::string fit_hash;  ///< empty: fitted now
  /// Why these runs determine no law, and what to add. The page then says so, and shows the runs.
  std::string law_refusal, law_hint;
  Backtest ranking;
  std::optional<ComputeOptimal> isoflop;
  std::string isoflop_refusal;         ///< why there is none …
  std::vector<IsoflopBudget> budgets;  ///< … and what there is of it
  ComputeCost cost;                    ///< how the runs count compute
  double smallest_fitted_c = 0.0;
  double largest_fitted_c = 0.0;
  std::vector<ExponentEstimate> exponents;
  std::vector<Advice> advice;             ///< for budgets that were asked for
  std::vector<AdvisedSettings> settings;  ///< of each advice
  std::vector<WrittenPrediction> predictions;
  std::vector<ExcludedRun> excluded;
  /// Columns of the file that no fit reads (seeds, other counts of N, seconds, …), by the names of runs.
  std::vector<std::string> other_columns;
  std::map<std::string, std::vector<std::string>> others;
  /// (what, value): where the numbers come from and how to get them again.
  std::vector<std::pair<std::string, std::string>> provenance;

  /// Advice along C from the cheapest run to the dearest run, prediction or budget: the curves of several plots.
  std::vector<Advice> along_compute;

  bool has_law() const { return law_refusal.empty(); }
};

/// Fills cost, the range of fitted compute, and along_compute. After predictions; `budgets` are to be advised on. For
/// reports with a law.
void follow_optimum(SweepReport& report, const std::vector<double>& budgets);

/// Part of the page; `data` are (file name, CSV) of every number in it.
struct ReportSection {
  std::string title;
  std::string html;
  std::vector<std::pair<std::string, std::string>> data;
};

// With or without a law.
ReportSection isoflop_section(const SweepReport& report);
ReportSection loss_section(const SweepReport& report);
ReportSection size_section(const SweepReport& report);
ReportSection tuning_section(const SweepReport& report);
// Of a law.
ReportSection optimum_section(const SweepReport& report);  ///< N*, D*, tokens per parameter over C
ReportSection surface_section(const SweepReport& report);
ReportSection misallocation_section(const SweepReport& report);
ReportSection bootstrap_section(const SweepReport& report);
ReportSection exponent_section(const SweepReport& report);
ReportSection residual_section(const SweepReport& report);
ReportSection backtest_section(const SweepReport& report);
/// Nothing unless the table has a column `accuracy`; accuracy_majority and accuracy_ngrams are what it has to beat.
std::optional<ReportSection> downstream_section(const SweepReport& report);
/// The law's table first, where there is one.
std::vector<ReportSection> table_sections(const SweepReport& report);

/// The page, complete in itself, and the files beside it.
struct RenderedReport {
  std::string html;
  std::vector<std::pair<std::string, std::string>> data;
};
RenderedReport render_report(const SweepReport& report);

}  // namespace tsugi
