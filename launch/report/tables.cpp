// The tables of a report.
#include <algorithm>
#include <cmath>
#include <optional>

#include "core/data/csv.h"
#include "launch/report/marks.h"
#include "launch/report/page.h"
#include "launch/report/table.h"
#include "launch/sweep/fit_json.h"

namespace tsugi {
namespace {

ReportSection table_section(const std::string& title, const std::string& file, const DataTable& table,
                            const std::string& note = "") {
  return {title, (note.empty() ? "" : "<p>" + escape_markup(note) + "</p>\n") + table.html(), {{file, table.csv()}}};
}

ReportSection fit_table(const SweepReport& report) {
  const Fit& fit = report.fit.fit;
  DataTable table({"parameter", "value", "bootstrap low", "bootstrap high", "profile low", "profile high"});
  for (int i = 0; i < fit.law->parameters; ++i) {
    const size_t index = static_cast<size_t>(i);
    const Interval &bootstrap = report.fit.interval[index], &profile = report.fit.profile[index];
    table.add(
        {fit.law->parameter[index].name, fit.parameter(i), bootstrap.low, bootstrap.high, profile.low, profile.high});
  }
  ReportSection section = table_section(
      "The law", "fit.csv", table,
      std::string(fit.law->name) + ": L = " + fit.law->formula + " (" + fit.law->source + "). Objective " +
          short_number(fit.objective) + " over " + std::to_string(fit.residuals.size()) + " runs, " +
          std::to_string(fit.agreeing) + " of " + std::to_string(fit.starts) + " starts agree, condition " +
          short_number(fit.condition) + ", " + std::to_string(report.fit.bootstrap.samples.size()) +
          " bootstrap replicates, intervals at " + short_number(100.0 * report.fit.level) + " %" +
          (report.fit_hash.empty() ? "." : ", fit " + report.fit_hash + "."));
  return section;
}

/// Columns that say how a run was computed rather than what came out.
bool is_of_machine(const std::string& column) {
  for (const char* name : {"c_own", "seconds", "FLOP/s", "tokens_per_second", "mfu", "mfu_palm", "mfu_causal", "ranks",
                           "threads", "program", "version", "host", "processor", "device"}) {
    if (column == name) return true;
  }
  return false;
}

/// A row's further columns, those of the machine or the others.
void add_others(const SweepReport& report, const std::string& run, bool machine, std::vector<Cell>& row) {
  const auto found = report.others.find(run);
  for (size_t i = 0; i < report.other_columns.size(); ++i) {
    if (is_of_machine(report.other_columns[i]) != machine) continue;
    const std::string text = found == report.others.end() ? "" : found->second[i];
    double number = 0.0;
    if (!parse_csv_number(text, number)) {
      row.emplace_back(text);
    } else if (report.other_columns[i].starts_with("mfu")) {
      row.emplace_back(number, percent(number));
    } else {
      row.emplace_back(number);
    }
  }
}

std::vector<std::string> other_columns(const SweepReport& report, bool machine) {
  std::vector<std::string> names;
  for (const std::string& name : report.other_columns) {
    if (is_of_machine(name) == machine) names.push_back(name);
  }
  return names;
}

ReportSection run_table(const SweepReport& report) {
  std::vector<std::string> header{"run",           "N",     "D",     "D/N",  "C",     "6ND",
                                  "learning rate", "batch", "steps", "loss", "status"};
  for (const std::string& name : other_columns(report, false)) header.push_back(name);
  DataTable table(header);
  const auto add = [&](const SweepRun& run, const char* status) {
    std::vector<Cell> row{run.name,
                          {run.n, count_text(run.n)},
                          {run.d, count_text(run.d)},
                          run.d / run.n,
                          {run.c, scientific_text(run.c)},
                          {ComputeCost{}.flops(run.n, run.d), scientific_text(ComputeCost{}.flops(run.n, run.d))},
                          run.learning_rate,
                          run.batch,
                          {run.steps, count_text(run.steps)},
                          run.loss,
                          status};
    add_others(report, run.name, false, row);
    table.add(std::move(row));
  };
  for (const SweepRun& run : report.table.runs.runs)
    add(run, run.held_out ? "held out" : report.has_law() ? "fitted" : "run");
  for (const SweepRun& run : report.table.filtered_out) add(run, "filtered out");
  return table_section("Runs", "run_table.csv", table);
}

/// Empty unless the table says something of it.
std::optional<ReportSection> machine_table(const SweepReport& report) {
  const std::vector<std::string> columns = other_columns(report, true);
  if (columns.empty()) return std::nullopt;
  std::vector<std::string> header{"run"};
  header.insert(header.end(), columns.begin(), columns.end());
  DataTable table(header);
  const auto add = [&](const SweepRun& run) {
    std::vector<Cell> row{run.name};
    add_others(report, run.name, true, row);
    table.add(std::move(row));
  };
  for (const SweepRun& run : report.table.runs.runs) add(run);
  for (const SweepRun& run : report.table.filtered_out) add(run);
  const bool utilization = std::ranges::find(columns, "mfu_palm") != columns.end();
  return table_section("Speed and machines", "run_machines.csv", table,
                       utilization
                           ? "Utilization (MFU) is the FLOP/s of training over the rate of matrix products that "
                             "was measured when the run began: with attention as a full square (PaLM), and "
                             "with its causal half."
                           : "");
}

ReportSection provenance_table(const SweepReport& report) {
  DataTable table({"what", "value"});
  for (const auto& [what, value] : report.provenance) table.add({what, value});
  return table_section("Where this comes from", "provenance.csv", table);
}

ReportSection advice_table(const SweepReport& report) {
  DataTable table({"budget", "N", "N interval", "D", "D interval", "D/N", "loss", "loss interval",
                   "N within 0.1 % loss", "times the largest fitted C", "width", "layers", "learning rate", "batch"});
  for (size_t i = 0; i < report.advice.size(); ++i) {
    const Advice& one = report.advice[i];
    const AdvisedSettings& settings = report.settings[i];
    const auto counts = [](const Interval& interval) {
      return count_text(interval.low) + " to " + count_text(interval.high);
    };
    table.add({{one.best.c, scientific_text(one.best.c)},
               {one.best.n, count_text(one.best.n)},
               counts(one.n),
               {one.best.d, count_text(one.best.d)},
               counts(one.d),
               one.best.d / one.best.n,
               one.best.loss,
               short_interval(one.loss),
               counts(one.best.n_within_tenth_percent),
               one.extrapolation,
               settings.width,
               settings.layers,
               settings.learning_rate,
               settings.batch});
  }
  return table_section("Advice", "advice.csv", table,
                       "How to spend a budget under this law. " + cost_text(report.cost) +
                           " Shape, rate and batch as the runs have them, continued" +
                           (report.settings.front().of_grid ? "; rate and batch by the laws of their grid." : "."));
}

ReportSection prediction_table(const SweepReport& report) {
  DataTable table(
      {"file", "written", "fit", "form", "N", "D", "predicted", "low", "high", "run", "actual", "error", "inside"});
  for (const WrittenPrediction& one : report.predictions) {
    const bool known = std::isfinite(one.actual);
    const double error = one.loss / one.actual - 1.0;
    table.add({one.file,
               one.time,
               one.fit_hash,
               one.form,
               {one.n, count_text(one.n)},
               {one.d, count_text(one.d)},
               one.loss,
               one.interval.low,
               one.interval.high,
               known ? one.run : "not run yet",
               one.actual,
               {error, percent(error)},
               !known                                                              ? ""
               : one.interval.low <= one.actual && one.actual <= one.interval.high ? "yes"
                                                                                   : "no"});
  }
  return table_section("Predictions, before and after", "predictions.csv", table);
}

}  // namespace

std::vector<ReportSection> table_sections(const SweepReport& report) {
  std::vector<ReportSection> sections;
  if (report.has_law()) sections.push_back(fit_table(report));
  if (!report.predictions.empty()) sections.push_back(prediction_table(report));
  if (!report.advice.empty()) sections.push_back(advice_table(report));
  sections.push_back(run_table(report));
  if (std::optional<ReportSection> machines = machine_table(report)) sections.push_back(std::move(*machines));
  if (!report.excluded.empty()) {
    DataTable table({"run", "reason"});
    for (const ExcludedRun& one : report.excluded) table.add({one.name, one.reason});
    sections.push_back(table_section("Left out", "excluded.csv", table));
  }
  std::vector<std::string> notes = report.table.runs.warnings;
  notes.insert(notes.end(), report.table.runs.notes.begin(), report.table.runs.notes.end());
  for (const std::string& warning : report.fit.fit.warnings) notes.push_back(warning);
  if (report.isoflop) {
    for (const std::string& warning : report.isoflop->warnings) notes.push_back("isoFLOP: " + warning);
  }
  if (!report.provenance.empty()) sections.push_back(provenance_table(report));
  if (!notes.empty()) {
    ReportSection section{"Warnings and notes", "<ul class=\"notes\">\n", {}};
    for (const std::string& note : notes) section.html += "<li>" + escape_markup(note) + "</li>\n";
    section.html += "</ul>\n";
    sections.push_back(section);
  }
  return sections;
}

}  // namespace tsugi
