#include "launch/sweep/sweep_status.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/train/metrics/progress.h"

namespace tsugi {
namespace {

template <class... Arguments>
std::string put_together(const char* format, Arguments... arguments) {
  char buffer[512];
  std::snprintf(buffer, sizeof buffer, format, arguments...);
  return buffer;
}

/// What stands behind a task's steps.
std::string remarks_on(const TaskState& now) {
  std::string text;
  if (now.loss) text += put_together("  loss %.4f", *now.loss);
  if (now.accuracy) text += put_together("  accuracy %.4f", *now.accuracy);
  if (now.queued) {
    text += "  job " + now.queued->array + "_" + now.queued->index + " " + now.queued->state;
    if (now.queued->state == "PENDING") text += " (" + now.queued->reason + ")";
  }
  return text;
}

/// At most so many bytes, never a part of a character.
std::string cut_to(std::string text, int columns) {
  size_t end = static_cast<size_t>(std::max(0, columns));
  if (text.size() <= end) return text;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  text.resize(end);
  return text;
}

std::string live_line(const SweepTask& task, const TaskState& now, int columns, int name_width) {
  constexpr int kBar = 20;
  std::string line = put_together("%-*.*s  %-8s ", name_width, name_width, task.name.c_str(), now.state.c_str());
  const double share = now.ended() ? 1.0 : std::clamp(now.share, 0.0, 1.0);
  const auto full = static_cast<size_t>(std::floor(share * kBar));
  if (columns >= name_width + 60) {
    line += now.state == "skipped" ? std::string(kBar + 2, ' ')
                                   : "[" + std::string(full, '=') + std::string(kBar - full, ' ') + "]";
  }
  line += now.steps > 0
              ? put_together(" %7lld/%-7lld", static_cast<long long>(now.step), static_cast<long long>(now.steps))
              : std::string(16, ' ');
  return cut_to(line + remarks_on(now), columns);
}

}  // namespace

SweepStatus::SweepStatus(SweepFolder folder, const SweepPlan& plan)
    : folder_(std::move(folder)), tasks_(sweep_tasks(plan)), states_(tasks_.size()) {}

TaskState SweepStatus::state_of(const SweepTask& task, const std::map<std::string, QueuedTask>& queued) const {
  TaskState now;
  int64_t first = 0;
  if (task.kind == SweepTask::Kind::kRun) {
    now.steps = task.run->config.steps();
    first = task.run->first_step;
  } else if (task.kind == SweepTask::Kind::kSegment) {
    now.steps = task.segment->config.steps();
    first = task.segment->first_step;
  }
  const bool has_ended = folder_.has_result(task);
  const RunningMetrics last = has_ended ? RunningMetrics{now.steps, {}} : folder_.last_metrics(task);
  now.step = last.step;
  if (now.steps > 0) now.step = std::min(now.step, now.steps);
  if (now.step > first && now.steps > first) {
    now.share = static_cast<double>(now.step - first) / static_cast<double>(now.steps - first);
  }
  if (has_ended) now.share = 1.0;
  const auto in_slurm = queued.find(task.id);
  if (!has_ended && in_slurm != queued.end()) now.queued = in_slurm->second;
  now.state = has_ended                             ? (folder_.has_diverged(task) ? "diverged" : "done")
              : folder_.running(task)               ? "running"
              : now.queued                          ? "queued"
              : is_pointless(folder_, tasks_, task) ? "skipped"
              : now.step > 0                        ? "stopped"
                                                    : "waiting";
  if (now.state == "running" || now.state == "stopped") now.loss = last.loss;
  if (now.state == "done" && task.kind == SweepTask::Kind::kRun) now.loss = folder_.result(*task.run)->loss;
  if (now.state == "done" && task.kind == SweepTask::Kind::kDownstream) {
    now.accuracy = folder_.downstream_result(*task.run)->accuracy;
  }
  return now;
}

void SweepStatus::look(const std::map<std::string, QueuedTask>& queued) {
  for (size_t i = 0; i < tasks_.size(); ++i) {
    if (!states_[i].ended()) states_[i] = state_of(tasks_[i], queued);
  }
}

bool SweepStatus::finished() const {
  return std::ranges::all_of(states_, [](const TaskState& one) { return one.ended(); });
}

double SweepStatus::flops() const {
  double all = 0.0;
  for (size_t i = 0; i < tasks_.size(); ++i) all += states_[i].state == "skipped" ? 0.0 : tasks_[i].flops;
  return all;
}

double SweepStatus::share() const {
  double computed = 0.0;
  for (size_t i = 0; i < tasks_.size(); ++i) computed += states_[i].share * tasks_[i].flops;
  const double all = flops();
  return all > 0.0 ? computed / all : 1.0;
}

nlohmann::ordered_json SweepStatus::json() const {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (size_t i = 0; i < tasks_.size(); ++i) {
    const TaskState& now = states_[i];
    rows.push_back({{"name", tasks_[i].name},
                    {"id", tasks_[i].id},
                    {"state", now.state},
                    {"step", now.step},
                    {"steps", now.steps}});
    if (now.loss) rows.back()["loss"] = *now.loss;
    if (now.accuracy) rows.back()["accuracy"] = *now.accuracy;
    if (now.queued) {
      rows.back()["job"] = now.queued->array + "_" + now.queued->index;
      rows.back()["slurm"] = now.queued->state;
    }
  }
  return {{"share", share()}, {"runs", rows}};
}

std::string SweepStatus::plain_text() const {
  std::string text;
  for (size_t i = 0; i < tasks_.size(); ++i) {
    const TaskState& now = states_[i];
    text += put_together("%-28s %-9s", tasks_[i].name.c_str(), now.state.c_str());
    if (now.steps > 0) {
      text += put_together(" %8lld / %-8lld", static_cast<long long>(now.step), static_cast<long long>(now.steps));
    }
    text += remarks_on(now) + "\n";
  }
  return text + put_together("%.1f %% of %.3e FLOPs\n", 100.0 * share(), flops());
}

std::vector<std::string> SweepStatus::live_text(int rows, int columns, double seconds_left) const {
  constexpr int kSummary = 2;
  const auto room = static_cast<size_t>(std::max(1, rows - kSummary));
  std::vector<size_t> shown(tasks_.size());
  for (size_t i = 0; i < shown.size(); ++i) shown[i] = i;
  if (shown.size() > room) {
    const auto rank = [&](size_t i) {
      const std::string& state = states_[i].state;
      return state == "running" ? 0 : state == "diverged" || state == "stopped" ? 1 : states_[i].ended() ? 3 : 2;
    };
    std::ranges::stable_sort(shown, {}, rank);
    shown.resize(room);
    std::ranges::sort(shown);
  }
  int name_width = 0;
  for (const SweepTask& task : tasks_) name_width = std::max(name_width, static_cast<int>(task.name.size()));
  name_width = std::min(name_width, std::max(12, columns / 3));

  std::vector<std::string> lines;
  for (const size_t i : shown) lines.push_back(live_line(tasks_[i], states_[i], columns, name_width));
  std::string counts;
  for (const char* state : {"running", "queued", "waiting", "stopped", "done", "diverged", "skipped"}) {
    const auto count = std::ranges::count(states_, state, &TaskState::state);
    if (count > 0) counts += (counts.empty() ? "" : ", ") + std::to_string(count) + " " + state;
  }
  if (shown.size() < tasks_.size()) counts += "; " + std::to_string(tasks_.size() - shown.size()) + " not shown";
  lines.push_back(cut_to(counts, columns));
  std::string total = put_together("%.1f %% of %.3e FLOPs", 100.0 * share(), flops());
  if (std::isfinite(seconds_left)) total += ", about " + format_duration(seconds_left) + " left";
  lines.push_back(cut_to(total, columns));
  if (lines.size() > static_cast<size_t>(std::max(1, rows)))
    lines.erase(lines.begin(), lines.end() - std::max(1, rows));
  return lines;
}

}  // namespace tsugi
