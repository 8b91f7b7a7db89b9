#include "core/scaling/data/read_sweep.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "core/config/nearest.h"
#include "core/scaling/data/where.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

struct Role {
  const char* name;
  double SweepRun::* value;  // null: a text
  unsigned input;
};
constexpr Role kRoles[] = {
    {"n", &SweepRun::n, kInputN},
    {"d", &SweepRun::d, kInputD},
    {"c", &SweepRun::c, kInputC},
    {"loss", &SweepRun::loss, 0},
    {"unique", &SweepRun::unique, kInputUnique},
    {"steps", &SweepRun::steps, kInputSteps},
    {"batch", &SweepRun::batch, kInputBatch},
    {"lr", &SweepRun::learning_rate, 0},
    {"name", nullptr, 0},
    {"run", nullptr, 0},
};

struct BoundColumn {
  size_t column = 0;
  double scale = 1.0;
};
using Binding = std::map<std::string, BoundColumn>;

const Role* find_role(const std::string& name) {
  const auto* found = std::find_if(std::begin(kRoles), std::end(kRoles), [&](const Role& r) { return name == r.name; });
  return found == std::end(kRoles) ? nullptr : found;
}

/// Which column plays which role, and the roles whose unit the user gave.
Binding bind_columns(const CsvTable& csv, const std::string& columns, unsigned& units_meant) {
  Binding binding;
  const std::string hint = "--columns n=COLUMN,d=COLUMN,loss=COLUMN; roles: n d c loss unique steps batch lr name run";
  for (const std::string& part : parse_csv_line(columns, "--columns")) {
    if (part.empty() && columns.empty()) break;
    const size_t equals = part.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == part.size()) {
      throw Error(ExitCode::kUsage, "--columns: \"" + part + "\" is not ROLE=COLUMN", hint);
    }
    const std::string role = part.substr(0, equals);
    const Role* known = find_role(role);
    if (known == nullptr) throw Error(ExitCode::kUsage, "--columns: there is no role \"" + role + "\"", hint);
    if (binding.contains(role)) throw Error(ExitCode::kUsage, "--columns: " + role + " is given twice", hint);
    const std::string column = part.substr(equals + 1);
    BoundColumn bound;
    int64_t found = csv.find_column(column);
    const size_t star = column.rfind('*');
    if (found < 0 && star != std::string::npos && known->value != nullptr) {
      if (!parse_csv_number(std::string_view(column).substr(star + 1), bound.scale) || !std::isfinite(bound.scale) ||
          bound.scale <= 0.0) {
        throw Error(ExitCode::kUsage, "--columns: \"" + column + "\": after * must stand a positive number", hint);
      }
      found = csv.require_column(std::string_view(column).substr(0, star));
      units_meant |= known->input;
    }
    bound.column = static_cast<size_t>(found >= 0 ? found : csv.require_column(column));
    binding[role] = bound;
  }
  for (const Role& role : kRoles) {
    if (!columns.empty()) break;
    const int64_t found = csv.find_column(role.name);
    if (found >= 0) binding[role.name] = {static_cast<size_t>(found), 1.0};
  }
  if (!binding.contains("loss")) {
    constexpr size_t kMost = 12;
    std::string names;
    for (size_t i = 0; i < std::min(csv.header.size(), kMost); ++i) names += (i == 0 ? "" : ", ") + csv.header[i];
    if (csv.header.size() > kMost) names += ", …";
    throw Error(ExitCode::kUsage, csv.origin + ": which column is the loss? There are: " + names, hint);
  }
  return binding;
}

/// Truth of conditions on one row; numbers that cannot be read are texts.
class RowConditions {
 public:
  RowConditions(const CsvTable& csv, const Binding& binding) : csv_(csv), binding_(binding) {}

  void require_names(const Where& where) const {
    for (const std::string& name : where.names()) {
      if (name != "ratio" && !binding_.contains(name) && !is_derived(name)) csv_.require_column(name);
    }
  }

  bool holds(const Where& where, size_t row, const SweepRun* run) const {
    return where.holds([&](const std::string& name) { return value(name, row, run); });
  }

 private:
  /// n, d or c where it is no column, but follows from the other two.
  bool is_derived(const std::string& name) const {
    if (binding_.contains(name) || (name != "n" && name != "d" && name != "c")) return false;
    return binding_.contains("n") + binding_.contains("d") + binding_.contains("c") == 2;
  }

  WhereValue value(const std::string& name, size_t row, const SweepRun* run) const {
    if (run != nullptr) {  // completed values count: c = 6 n d
      if (const Role* role = find_role(name); role != nullptr && role->value != nullptr) {
        if (!std::isnan(run->*role->value)) return {true, run->*role->value, {}};
      }
      if (name == "ratio") return {true, run->d / run->n, {}};
      if (is_derived(name)) return {true, RunPoint::kUnknown, {}};
    }
    const auto bound = binding_.find(name);
    const size_t column =
        bound != binding_.end() ? bound->second.column : static_cast<size_t>(csv_.require_column(name));
    WhereValue result;
    result.text = csv_.rows[row][column];
    result.is_number = parse_csv_number(result.text, result.number);
    if (result.is_number && bound != binding_.end()) result.number *= bound->second.scale;
    return result;
  }

  const CsvTable& csv_;
  const Binding& binding_;
};

SweepRun read_row(const CsvTable& csv, const Binding& binding, size_t row) {
  SweepRun run;
  run.name = "line " + std::to_string(csv.lines[row]);
  for (const auto& [name, bound] : binding) {
    const std::string& text = csv.rows[row][bound.column];
    const Role* role = find_role(name);
    if (role->value == nullptr) {
      (name == "name" ? run.name : run.cluster) = text;
      continue;
    }
    double value = 0.0;
    if (parse_csv_number(text, value)) run.*role->value = value * bound.scale;
  }
  return run;
}

/// Every bound number of a row that is used must be one.
void require_numbers(const CsvTable& csv, const Binding& binding, size_t row) {
  for (const auto& [name, bound] : binding) {
    const Role* role = find_role(name);
    if (role->value == nullptr) continue;
    const std::string& text = csv.rows[row][bound.column];
    double value = 0.0;
    const bool is_number = parse_csv_number(text, value);
    if (is_number && std::isfinite(value)) continue;
    const std::string shown = text.substr(0, 40);
    throw Error(ExitCode::kData,
                csv.origin + ": line " + std::to_string(csv.lines[row]) + ": column " + csv.header[bound.column] +
                    ": " + (text.empty() ? "empty" : "\"" + shown + "\" is not a finite number"),
                is_number ? "a run that diverged or is not finished: leave it out, --where \"" + name +
                                (name == "loss" ? " < 100\"" : " > 0\"") +
                                (csv.find_column("status") >= 0 ? ", or by the column status" : "")
                          : "numbers look like 1234, 1.5 or 7e9, without thousands separators or units; a column that "
                            "counts billions is " +
                                name + "=COLUMN*1e9");
  }
}

/// The rows of which the column status says so; 0 without one.
size_t diverged_rows(const CsvTable& csv) {
  const int64_t status = csv.find_column("status");
  if (status < 0) return 0;
  return static_cast<size_t>(
      std::ranges::count(csv.rows, "diverged", [&](const auto& row) { return row[static_cast<size_t>(status)]; }));
}

}  // namespace

SweepTable read_sweep(const CsvTable& csv, const SweepColumns& columns) {
  unsigned units_meant = 0;
  const Binding binding = bind_columns(csv, columns.columns, units_meant);
  const Where where(columns.where), hold_out(columns.hold_out), filter(columns.filter);
  const RowConditions conditions(csv, binding);
  for (const Where* one : {&where, &hold_out, &filter}) conditions.require_names(*one);

  const size_t diverged = diverged_rows(csv);
  if (diverged > 0 && diverged == csv.rows.size()) {
    throw Error(ExitCode::kData,
                csv.origin + ": all " + std::to_string(diverged) + " runs diverged: there is nothing to fit",
                kAgainstDivergence);
  }

  SweepTable table;
  table.runs.origin = csv.origin;
  RunTable all;
  all.origin = csv.origin;
  RunTable given = all;  // before anything is derived: a wrong unit is to be named where it stands
  std::vector<size_t> rows;
  // Derived values (c = 6 n d, ratio) may stand in conditions: complete each row alone, then choose.
  for (size_t row = 0; row < csv.rows.size(); ++row) {
    RunTable one;
    one.runs.push_back(read_row(csv, binding, row));
    const SweepRun as_given = one.runs[0];
    complete_flops(one);
    if (!conditions.holds(where, row, &one.runs[0])) continue;
    require_numbers(csv, binding, row);
    if (one.notes.size() > all.notes.size()) all.notes = one.notes;
    given.runs.push_back(as_given);
    all.runs.push_back(std::move(one.runs[0]));
    rows.push_back(row);
  }
  if (all.runs.empty()) {
    throw Error(ExitCode::kData, csv.origin + ": no row satisfies --where \"" + columns.where + "\"",
                diverged > 0 ? std::to_string(diverged) + " of " + std::to_string(csv.rows.size()) +
                                   " runs diverged: " + kAgainstDivergence
                             : "");
  }
  if (rows.size() < csv.rows.size()) {
    all.notes.push_back(std::to_string(csv.rows.size() - rows.size()) + " of " + std::to_string(csv.rows.size()) +
                        " rows left out by the condition \"" + columns.where + "\"");
  }
  check_units(given, units_meant);
  check_mixed_units(given, units_meant);
  check_units(all, units_meant);
  table.runs.notes = all.notes;
  table.runs.warnings = given.warnings;
  for (size_t i = 0; i < rows.size(); ++i) {
    SweepRun& run = all.runs[i];
    run.held_out = !columns.hold_out.empty() && conditions.holds(hold_out, rows[i], &run);
    if (!run.held_out && !conditions.holds(filter, rows[i], &run)) {
      table.filtered_out.push_back(std::move(run));
    } else {
      table.runs.runs.push_back(std::move(run));
    }
  }
  if (table.runs.runs.empty()) {
    throw Error(ExitCode::kData, csv.origin + ": no row satisfies --filter \"" + columns.filter + "\"");
  }
  return table;
}

}  // namespace tsugi
