#include "launch/sweep/sweep_result.h"

#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/data/file.h"

namespace tsugi {
namespace {

constexpr int64_t kLargestResult = 1 << 20;
constexpr int64_t kMostRanks = 1 << 30;

const char* status_text(bool diverged) { return diverged ? "diverged" : "done"; }

/// Durably. Reasons are lines of logs, which may hold any bytes: what is not UTF-8 is replaced.
void write_task_result(const std::string& folder, const nlohmann::ordered_json& json) {
  write_file_durably(folder + "/result.json",
                     json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

}  // namespace

RunSpeed read_speed(const JsonValue& json) {
  RunSpeed speed;
  speed.tokens_per_second = json.double_or("tokens_per_second", 0.0);
  speed.mfu_palm = json.double_or("mfu", 0.0);
  speed.mfu_causal = json.double_or("mfu_causal", 0.0);
  speed.ranks = static_cast<int>(json.int_or("ranks", 0, 0, kMostRanks));
  speed.threads = static_cast<int>(json.int_or("threads", 0, 0, kMostRanks));
  speed.program = json.string_or("program", "");
  speed.host = json.string_or("host", "");
  speed.processor = json.string_or("processor", "");
  return speed;
}

std::optional<JsonValue> read_task_result(const std::string& folder, const std::string& id) {
  const std::string path = folder + "/result.json";
  if (!std::filesystem::exists(path)) return std::nullopt;
  JsonValue json = read_json(path, kLargestResult);
  if (json.require_string("id") != id) throw json.require("id").error("is not " + id);
  const std::string status = json.require_string("status");
  if (status != "done" && status != "diverged") {
    throw json.require("status").error("is \"" + status + "\", not done or diverged");
  }
  return json;
}

bool has_diverged(const JsonValue& result) { return result.require_string("status") == "diverged"; }

RunResult run_result(const JsonValue& result) {
  RunResult read;
  read.diverged = has_diverged(result);
  read.loss = read.diverged ? std::numeric_limits<double>::quiet_NaN() : result.require_double("loss");
  read.learning_rate = result.require_double("learning_rate");
  read.seconds = result.require_double("seconds");
  read.speed = read_speed(result);
  read.reason = result.string_or("reason", "");
  return read;
}

DownstreamResult downstream_result(const JsonValue& result) {
  DownstreamResult read;
  read.diverged = has_diverged(result);
  read.seconds = result.require_double("seconds");
  if (read.diverged) return read;
  read.accuracy = result.require_double("accuracy");
  read.majority = result.require_double("majority_accuracy");
  read.ngrams = result.require_double("ngram_accuracy");
  read.loss = result.require_double("loss");
  return read;
}

void write_run_result(const std::string& folder, const std::string& id, const std::string& name,
                      const RunResult& result) {
  nlohmann::ordered_json json{{"id", id}, {"name", name}, {"status", status_text(result.diverged)}};
  if (!result.diverged) {
    json["loss"] = result.loss;
    json["tokens_per_second"] = result.speed.tokens_per_second;
    json["mfu"] = result.speed.mfu_palm;
    json["mfu_causal"] = result.speed.mfu_causal;
    json["ranks"] = result.speed.ranks;
    json["threads"] = result.speed.threads;
    json["program"] = result.speed.program;
    json["host"] = result.speed.host;
    json["processor"] = result.speed.processor;
  }
  json["learning_rate"] = result.learning_rate;
  json["seconds"] = result.seconds;
  if (!result.reason.empty()) json["reason"] = result.reason;
  write_task_result(folder, json);
}

void write_downstream_result(const std::string& folder, const std::string& id, const std::string& run,
                             const DownstreamResult& result) {
  nlohmann::ordered_json json{{"id", id}, {"run", run}, {"status", status_text(result.diverged)}};
  if (!result.diverged) {
    json["accuracy"] = result.accuracy;
    json["majority_accuracy"] = result.majority;
    json["ngram_accuracy"] = result.ngrams;
    json["loss"] = result.loss;
  }
  json["seconds"] = result.seconds;
  write_task_result(folder, json);
}

void write_segment_result(const std::string& folder, const std::string& id, const std::string& name, bool diverged,
                          double seconds) {
  write_task_result(folder, {{"id", id}, {"name", name}, {"status", status_text(diverged)}, {"seconds", seconds}});
}

}  // namespace tsugi
