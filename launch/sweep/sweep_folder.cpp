#include "launch/sweep/sweep_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/config/config.h"
#include "core/data/csv.h"
#include "core/data/file.h"
#include "core/scaling/plan/plan_notes.h"
#include "launch/sweep/sweep_stages.h"
#include "launch/training_data.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

std::string shortest(double value) {
  std::ostringstream text;
  text.precision(17);
  text << value;
  return text.str();
}

/// Tokens in a step.
int64_t batch_tokens(const PlannedRun& run) {
  const BatchConfig& batch = run.config.batch();
  return int64_t{batch.sequence()} * batch.micro_batch() * batch.micro_batches();
}

/// A number of a table; empty for what is not known.
std::string if_known(double value) { return value > 0.0 ? shortest(value) : ""; }

}  // namespace

LoadedSweep load_sweep(const std::string& path, const std::vector<std::string>& overrides) {
  constexpr std::string_view kOfSweep = "sweep.";
  std::vector<std::string> of_sweep, of_base;
  for (const std::string& one : overrides) {
    (one.starts_with(kOfSweep) ? of_sweep : of_base).push_back(one);
    if (one.starts_with(kOfSweep)) of_sweep.back().erase(0, kOfSweep.size());
  }
  LoadedSweep loaded;
  load_config(path, of_sweep, loaded.sweep);
  const std::filesystem::path beside = std::filesystem::path(path).parent_path();
  RunConfig& base = loaded.base;
  const std::string base_path = (beside / loaded.sweep.base()).lexically_normal().string();
  if (!std::filesystem::exists(base_path)) {
    throw Error(ExitCode::kUsage, path + ": base: there is no " + base_path, "a path from the sweep file's folder");
  }
  load_config(base_path, of_base, base);
  // Its own shape is replaced; what it says of the data is what counts here.
  RunConfig whole = base;
  validate_run(whole);
  const auto objective = make_language_objective(find_data(whole.data()), whole);
  if (objective->validation_batches(1, 1) == 0) {
    throw Error(ExitCode::kUsage,
                loaded.sweep.base() + ": there is nothing to validate on, and a sweep compares losses",
                "name a token file in data.validation");
  }
  RunConfig known = base;
  known.mutable_model()->set_vocabulary(whole.model().vocabulary());
  centre_on_first_stage(loaded.sweep, path, beside.string(), known, loaded.notes);
  const DownstreamFacts task = read_downstream_facts(loaded.sweep.downstream(), path);
  loaded.plan = plan_sweep(loaded.sweep, path, known, objective->fingerprint(), task);
  for (std::string& note : plan_notes(loaded.plan)) loaded.notes.push_back(std::move(note));
  return loaded;
}

std::string SweepFolder::run_folder(const PlannedRun& run) const { return out_ + "/runs/" + run.name + "-" + run.id; }

std::string SweepFolder::task_folder(const SweepTask& task) const {
  if (task.kind == SweepTask::Kind::kSegment) return out_ + "/trunks/" + task.name + "-" + task.id;
  return run_folder(*task.run) + (task.kind == SweepTask::Kind::kDownstream ? "/downstream-" + task.id : "");
}

std::string SweepFolder::run_directory(const PlannedRun& run) const {
  const std::string again = run_folder(run) + "/train-half-rate";
  return std::filesystem::exists(again) ? again : run_folder(run) + "/train";
}

std::optional<RunResult> SweepFolder::result(const PlannedRun& run) const {
  const std::optional<JsonValue> json = read_task_result(run_folder(run), run.id);
  return json ? std::optional(run_result(*json)) : std::nullopt;
}

std::optional<DownstreamResult> SweepFolder::downstream_result(const PlannedRun& run) const {
  const std::optional<JsonValue> json =
      read_task_result(run_folder(run) + "/downstream-" + run.downstream_id, run.downstream_id);
  return json ? std::optional(tsugi::downstream_result(*json)) : std::nullopt;
}

bool SweepFolder::has_result(const SweepTask& task) const {
  return read_task_result(task_folder(task), task.id).has_value();
}

bool SweepFolder::has_diverged(const SweepTask& task) const {
  const std::optional<JsonValue> json = read_task_result(task_folder(task), task.id);
  return json && tsugi::has_diverged(*json);
}

void SweepFolder::write_result(const PlannedRun& run, const RunResult& result) const {
  write_run_result(run_folder(run), run.id, run.name, result);
}

void SweepFolder::write_downstream_result(const SweepTask& task, const DownstreamResult& result) const {
  tsugi::write_downstream_result(task_folder(task), task.id, task.run->name, result);
}

void SweepFolder::write_segment_result(const SweepTask& task, bool diverged, double seconds) const {
  tsugi::write_segment_result(task_folder(task), task.id, task.name, diverged, seconds);
}

void SweepFolder::write_plan(const SweepPlan& plan) const {
  nlohmann::ordered_json json{{"flops", plan.flops}, {"runs", nlohmann::ordered_json::array()}};
  for (const PlannedRun& run : plan.runs) json["runs"].push_back(run_json(run));
  for (const PlannedSegment& segment : plan.segments) json["trunks"].push_back(segment_json(segment));
  write_file_durably(out_ + "/plan.json", json.dump(2) + "\n");
}

nlohmann::ordered_json segment_json(const PlannedSegment& segment) {
  return {{"name", segment.name},
          {"id", segment.id},
          {"first_step", segment.first_step},
          {"steps", segment.config.steps()},
          {"flops", segment.flops}};
}

nlohmann::ordered_json run_json(const PlannedRun& run) {
  nlohmann::ordered_json json{{"name", run.name},
                              {"id", run.id},
                              {"size", run.size},
                              {"budget", run.budget},
                              {"held_out", run.held_out},
                              {"seed", run.config.seed()},
                              {"layers", run.config.model().layers()},
                              {"width", run.config.model().width()},
                              {"parameters", run.parameters},
                              {"parameters_in_products", run.parameters_in_products},
                              {"parameters_in_blocks", run.parameters_in_blocks},
                              {"tokens", run.tokens},
                              {"tokens_per_parameter", run.tokens / static_cast<double>(run.parameters_in_products)},
                              {"flops", run.flops},
                              {"flops_causal", run.flops_causal},
                              {"flops_6nd", run.flops_6nd},
                              {"flops_without_embeddings", run.flops_without_embeddings},
                              {"batch_tokens", batch_tokens(run)},
                              {"steps", run.config.steps()},
                              {"learning_rate", run.config.optimizer().learning_rate()}};
  if (run.segment >= 0) {
    json["branches_at_step"] = run.first_step;
    json["own_flops"] = run.cost;
  }
  if (!run.downstream_id.empty()) json["downstream_id"] = run.downstream_id;
  return json;
}

std::string SweepFolder::write_csv(const SweepPlan& plan) const {
  std::string text =
      "name,id,status,held_out,budget,size,layers,width,seed,n,n_total,n_blocks,d,c,c_6nd,steps,lr,loss,seconds,"
      "tokens_per_second,mfu_palm,mfu_causal,ranks,threads,program,host,processor,"
      "c_own,accuracy,accuracy_majority,accuracy_ngrams,batch\n";
  for (const PlannedRun& run : plan.runs) {
    const std::optional<RunResult> ended = result(run);
    if (!ended) continue;
    const auto field = [&](const std::string& value) { text += value + ","; };
    field(run.name);
    field(run.id);
    field(ended->diverged ? "diverged" : "done");
    field(run.held_out ? "1" : "0");
    field(shortest(run.budget));
    field(run.size);
    field(std::to_string(run.config.model().layers()));
    field(std::to_string(run.config.model().width()));
    field(std::to_string(run.config.seed()));
    field(std::to_string(run.parameters_in_products));
    field(std::to_string(run.parameters));
    field(std::to_string(run.parameters_in_blocks));
    field(shortest(run.tokens));
    field(shortest(run.flops));
    field(shortest(run.flops_6nd));
    field(std::to_string(run.config.steps()));
    field(shortest(ended->learning_rate));
    field(ended->diverged ? "" : shortest(ended->loss));
    field(shortest(ended->seconds));
    const RunSpeed& speed = ended->speed;
    for (const double value : {speed.tokens_per_second, speed.mfu_palm, speed.mfu_causal}) field(if_known(value));
    for (const int count : {speed.ranks, speed.threads}) field(if_known(count));
    for (const std::string* what : {&speed.program, &speed.host}) field(csv_field(*what));
    field(csv_field(speed.processor));
    field(shortest(run.cost));
    std::optional<DownstreamResult> task;
    if (!run.downstream_id.empty()) task = downstream_result(run);
    const bool scored = task && !task->diverged;
    text += scored ? shortest(task->accuracy) + "," + shortest(task->majority) + "," + shortest(task->ngrams) : ",,";
    text += "," + std::to_string(batch_tokens(run)) + "\n";
  }
  write_file_durably(out_ + "/runs.csv", text);
  return out_ + "/runs.csv";
}

RunningMetrics SweepFolder::last_metrics(const SweepTask& task) const {
  const std::string run = task.kind == SweepTask::Kind::kRun ? run_directory(*task.run) : task_folder(task) + "/train";
  RunningMetrics last;
  std::ifstream file(run + "/metrics.jsonl", std::ios::ate);
  if (!file) return last;
  constexpr std::streamoff kTail = 4096;
  file.seekg(std::max<std::streamoff>(0, static_cast<std::streamoff>(file.tellg()) - kTail));
  const std::string tail{std::istreambuf_iterator<char>(file), {}};
  const auto number_after = [&](const char* key) -> const char* {
    const size_t found = tail.rfind(key);
    return found == std::string::npos ? nullptr : tail.c_str() + found + std::strlen(key);
  };
  if (const char* text = number_after("\"step\":")) last.step = std::atoll(text);
  if (const char* text = number_after("\"loss\":")) {
    char* end = nullptr;
    const double loss = std::strtod(text, &end);
    if (end != text && (*end == ',' || *end == '}')) last.loss = loss;  // a whole number, not what is being written
  }
  return last;
}

bool SweepFolder::running(const SweepTask& task) const {
  const int lock = open((task_folder(task) + "/lock").c_str(), O_RDONLY | O_CLOEXEC);
  if (lock < 0) return false;
  const bool held = flock(lock, LOCK_SH | LOCK_NB) != 0;
  close(lock);
  return held;
}

bool is_pointless(const SweepFolder& folder, const std::vector<SweepTask>& tasks, const SweepTask& task) {
  if (task.kind == SweepTask::Kind::kRun) return false;
  for (int one = task.after; one >= 0; one = tasks[static_cast<size_t>(one)].after) {
    const SweepTask& before = tasks[static_cast<size_t>(one)];
    if (folder.has_diverged(before)) return true;
    if (before.kind == SweepTask::Kind::kRun) return false;  // it has or will have half the rate
  }
  return false;
}

}  // namespace tsugi
