#include "launch/sweep/slurm_arrays.h"

#include <glog/logging.h>

#include <algorithm>
#include <optional>
#include <regex>
#include <string_view>

#include "core/config/config.h"
#include "launch/slurm/batch_script.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr size_t kMostTasks = 1000;

/// Tasks are asked to stop this long before their time is up, and Slurm may ask a minute early.
constexpr int kNotice = 180;
constexpr int64_t kShortestTurn = kNotice + 60 + 60;

/// Seconds of minutes, minutes:seconds, hours:minutes:seconds or days-hours[:minutes[:seconds]], as Slurm reads it.
std::optional<int64_t> slurm_seconds(const std::string& text) {
  static const std::regex minutes("([0-9]{1,8})(?::([0-9]{1,2}))?");
  static const std::regex hours("([0-9]{1,6}):([0-9]{1,2}):([0-9]{1,2})");
  static const std::regex days("([0-9]{1,5})-([0-9]{1,2})(?::([0-9]{1,2})(?::([0-9]{1,2}))?)?");
  std::smatch part;
  const auto number = [&](size_t i) -> int64_t { return part[i].matched ? std::stoll(part[i].str()) : 0; };
  if (std::regex_match(text, part, minutes)) return number(1) * 60 + number(2);
  if (std::regex_match(text, part, hours)) return number(1) * 3600 + number(2) * 60 + number(3);
  if (std::regex_match(text, part, days)) return ((number(1) * 24 + number(2)) * 60 + number(3)) * 60 + number(4);
  return std::nullopt;
}

[[noreturn]] void refuse(const std::string& text, const std::string& reason) {
  throw Error(ExitCode::kUsage, "\"" + text + "\" cannot be written in a batch script: " + reason);
}

/// A value of an #SBATCH line.
std::string directive(const std::string& text) {
  for (const char letter : text) {
    if (letter == '"' || letter == '\\' || static_cast<unsigned char>(letter) < ' ') {
      refuse(text, "it has a quote, a backslash or a line break");
    }
  }
  return "\"" + text + "\"";
}

/// A path in which sbatch replaces %a and the like.
std::string log_pattern(const std::string& folder, const std::string& file) {
  std::string text;
  for (const char letter : folder) text += letter == '%' ? "%%" : std::string(1, letter);
  return directive(text + "/" + file);
}

/// A word for the shell.
std::string shell_word(const std::string& text) {
  std::string word = "'";
  for (const char letter : text) {
    if (letter == '\n' || letter == '\0') refuse(text, "it has a line break");
    word += letter == '\'' ? std::string("'\\''") : std::string(1, letter);
  }
  return word + "'";
}

/// What is the same in every batch script of tsugi: stopping in time, requeueing, another try after a failure.
std::string_view ending() {
  const std::string_view script = kPretrainScript;
  const size_t begin = script.find("# ---- from here on the same");
  CHECK(begin != std::string_view::npos) << "launch/slurm/pretrain.sbatch has lost its mark";
  return script.substr(begin);
}

void add_common(std::string& text, const ResourcesConfig& resources, const ScriptPaths& paths,
                const ArrayOptions& options) {
  text += "#SBATCH --chdir=" + directive(paths.work) + "\n";
  text += "#SBATCH --open-mode=append\n#SBATCH --requeue\n";
  if (!resources.partition().empty()) text += "#SBATCH --partition=" + directive(resources.partition()) + "\n";
  if (!options.account.empty()) text += "#SBATCH --account=" + directive(options.account) + "\n";
}

void add_extra(std::string& text, const ArrayOptions& options) {
  for (const std::string& line : options.sbatch) {
    if (line.empty() || line[0] != '-' || line.find('\n') != std::string::npos) {
      throw Error(ExitCode::kUsage, "--sbatch \"" + line + "\" is not one option of sbatch", "--sbatch=--qos=long");
    }
    text += "#SBATCH " + line + "\n";
  }
}

}  // namespace

int lanes_of(const ResourcesConfig& resources) {
  if (resources.jobs() > 0) return resources.jobs();
  return resources.ranks() > 1 || resources.gpus_per_node() > 0 ? 1 : resources.cpus_per_rank();
}

int threads_of(const ResourcesConfig& resources) {
  return std::max(1, resources.cpus_per_rank() / lanes_of(resources));
}

void check_resources(const ResourcesConfig& resources, const std::string& origin) {
  const auto fail = [&](const std::string& reason, const std::string& hint = {}) {
    throw Error(ExitCode::kUsage, origin + ": resources: " + reason, hint);
  };
  const std::optional<int64_t> turn = slurm_seconds(resources.time());
  if (!turn) fail("time \"" + resources.time() + "\" is none of Slurm's", "30 (minutes), 4:00:00 or 1-12:00:00");
  if (*turn < kShortestTurn) {
    fail("time \"" + resources.time() + "\" is under 5 minutes, and tasks are asked to save 3 minutes before its end");
  }
  if (resources.jobs() > 1 && resources.ranks() > 1) {
    fail("jobs is " + std::to_string(resources.jobs()) + ", but runs of several ranks are not trained side by side");
  }
  if (resources.jobs() > 1 && resources.gpus_per_node() > 0) {
    fail("jobs is " + std::to_string(resources.jobs()) + ", but runs do not share a GPU");
  }
  if (resources.nodes() > resources.ranks()) {
    fail(std::to_string(resources.nodes()) + " nodes for " + std::to_string(resources.ranks()) + " ranks");
  }
}

std::vector<ResourcesConfig> resource_classes(const SweepConfig& sweep, const std::string& origin) {
  std::vector<ResourcesConfig> classes(sweep.resources().begin(), sweep.resources().end());
  std::ranges::stable_sort(classes, {}, [](const ResourcesConfig& one) { return one.from_flops(); });
  for (size_t i = 1; i < classes.size(); ++i) {
    if (classes[i].from_flops() == classes[i - 1].from_flops()) {
      throw Error(ExitCode::kUsage, origin + ": two resources begin at the same from_flops");
    }
  }
  if (classes.empty() || classes.front().from_flops() > 0) {
    ResourcesConfig presets;
    parse_config("", origin, {}, presets);
    classes.insert(classes.begin(), presets);
  }
  for (const ResourcesConfig& one : classes) check_resources(one, origin);
  return classes;
}

std::vector<JobArray> pack_runs(std::span<const WorkUnit> missing, std::span<const ResourcesConfig> classes,
                                const ArrayOptions& options) {
  std::vector<WorkUnit> longest_first(missing.begin(), missing.end());
  std::ranges::stable_sort(longest_first, std::ranges::greater{}, &WorkUnit::flops);
  std::vector<JobArray> arrays;
  for (size_t i = 0; i < classes.size(); ++i) {
    struct Packed {
      ArrayTask task;
      std::vector<double> lanes;  ///< seconds of each
    };
    std::vector<Packed> tasks;
    size_t first_open = 0;  // tasks before it have no room for the runs to come, which are shorter but were tried
    for (const WorkUnit& unit : longest_first) {
      if (unit.flops < classes[i].from_flops()) continue;
      if (i + 1 < classes.size() && unit.flops >= classes[i + 1].from_flops()) continue;
      const double seconds = unit.flops / options.flops_per_second;
      const auto shortest = [](Packed& packed) { return std::ranges::min_element(packed.lanes); };
      size_t place = first_open;
      while (place < tasks.size() && *shortest(tasks[place]) + seconds > options.pack_seconds) ++place;
      if (place == tasks.size()) {
        tasks.push_back({{}, std::vector<double>(static_cast<size_t>(lanes_of(classes[i])), 0.0)});
      }
      *shortest(tasks[place]) += seconds;
      tasks[place].task.units.push_back(unit);
      tasks[place].task.seconds = *std::ranges::max_element(tasks[place].lanes);
      while (first_open < tasks.size() && *shortest(tasks[first_open]) >= options.pack_seconds) ++first_open;
    }
    for (size_t begin = 0; begin < tasks.size(); begin += kMostTasks) {
      JobArray array{classes[i], {}};
      for (size_t k = begin; k < std::min(tasks.size(), begin + kMostTasks); ++k) {
        array.tasks.push_back(std::move(tasks[k].task));
      }
      arrays.push_back(std::move(array));
    }
  }
  return arrays;
}

std::string task_list(const JobArray& array) {
  std::string text;
  for (const ArrayTask& task : array.tasks) {
    std::string line;
    for (const WorkUnit& unit : task.units) {
      for (const std::string& id : unit.ids) line += (line.empty() ? "" : ",") + id;
    }
    text += line + "\n";
  }
  return text;
}

std::string array_script(const JobArray& array, const std::string& list, const ScriptPaths& paths,
                         const ArrayOptions& options) {
  const ResourcesConfig& resources = array.resources;
  std::string text =
      "#!/bin/bash\n# Tasks of a sweep, written by `tsugi sweep run --executor slurm`: array task i does those of "
      "line i of\n# " +
      list + ", counted from 0. What has ended is not done again.\n";
  text += "#SBATCH --job-name=" + directive("tsugi-" + paths.name) + "\n";
  text += "#SBATCH --array=0-" + std::to_string(array.tasks.size() - 1) +
          (options.most_running > 0 ? "%" + std::to_string(options.most_running) : "") + "\n";
  text += "#SBATCH --output=" + log_pattern(paths.folder, "logs/%A_%a.log") + "\n";
  add_common(text, resources, paths, options);
  text += "#SBATCH --signal=B:USR1@" + std::to_string(kNotice) + "\n#SBATCH --time=" + resources.time() + "\n";
  if (resources.nodes() > 0) text += "#SBATCH --nodes=" + std::to_string(resources.nodes()) + "\n";
  text += "#SBATCH --ntasks=" + std::to_string(resources.ranks()) + "\n";
  text += "#SBATCH --cpus-per-task=" + std::to_string(resources.cpus_per_rank()) + "\n";
  if (resources.gpus_per_node() > 0) {
    text += "#SBATCH --gpus-per-node=" + std::to_string(resources.gpus_per_node()) + "\n";
  }
  add_extra(text, options);
  text += "\nruns=$(sed -n \"$((SLURM_ARRAY_TASK_ID + 1))p\" " + shell_word(paths.folder + "/" + list) + ")\n";
  text += "ranks=" + std::to_string(resources.ranks()) + "\n";
  text += "command=(" + shell_word(paths.program) + " sweep run --config " + shell_word(paths.config) + "\n  --out " +
          shell_word(paths.out) + " --jobs " + std::to_string(lanes_of(resources)) + " --threads " +
          std::to_string(threads_of(resources)) + " --only \"$runs\")\n";
  text += "use_launcher() { command+=(--launcher \"${launcher[*]} -n $ranks\"); }\n\n";
  text += ending();
  return text;
}

std::string collect_script(const ResourcesConfig& resources, const ScriptPaths& paths, const ArrayOptions& options) {
  const std::string sweep = shell_word(paths.program) + " sweep ";
  const std::string table = shell_word(paths.out + "/runs.csv");
  std::string text =
      "#!/bin/bash\n# When all arrays of a sweep have ended: the table of its runs, and the fit if none is missing.\n";
  text += "#SBATCH --job-name=" + directive("tsugi-" + paths.name + "-collect") + "\n";
  text += "#SBATCH --output=" + log_pattern(paths.folder, "logs/collect-%j.log") + "\n";
  add_common(text, resources, paths, options);
  text +=
      "#SBATCH --time=30\n#SBATCH --ntasks=1\n#SBATCH --cpus-per-task=" + std::to_string(resources.cpus_per_rank()) +
      "\n";
  add_extra(text, options);
  text += "\n" + sweep + "collect --config " + shell_word(paths.config) + " --out " + shell_word(paths.out) +
          " &&\n  " + sweep + "fit --csv " + table +
          " --where 'status == \"done\"' --hold-out 'held_out == 1' \\\n    --form chinchilla --out " +
          shell_word(paths.out + "/fit.json") + "\n";
  return text;
}

}  // namespace tsugi
