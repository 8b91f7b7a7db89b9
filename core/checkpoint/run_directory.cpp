#include "core/checkpoint/run_directory.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>

#include "core/data/crc32c.h"
#include "core/data/file.h"
#include "core/data/json.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr std::string_view kPartial = ".partial.g";
constexpr std::string_view kVoid = ".void.g";
constexpr std::string_view kGenerationFile = "generation-";

constexpr int64_t kMaxStep = 1'000'000'000'000'000;

/// A number at the start of `text`, which is cut off; nothing when there is none that can be meant.
std::optional<int64_t> take_number(std::string_view& text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value < 0 || value > kMaxStep) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return value;
}

uint32_t start_crc(int64_t number, int64_t start_step) {
  const std::string text = std::to_string(number) + ":" + std::to_string(start_step);
  return crc32c(std::as_bytes(std::span(text)));
}

Generation read_generation(const std::string& path, int64_t number) {
  Generation generation{number, std::nullopt};
  const std::string text = read_file(path, 4096);
  if (text.empty()) return generation;
  const JsonValue root = parse_json(text, path);
  const int64_t start = root.require_int("start_step", 0);
  if (root.require_int("crc32c") != start_crc(number, start)) throw root.error("the checksum does not fit");
  generation.start_step = start;
  return generation;
}

std::string numbered(int64_t step, std::string_view suffix, int64_t generation) {
  return checkpoint_name(step) + std::string(suffix) + std::to_string(generation);
}

}  // namespace

std::string checkpoints_folder(const std::string& run_directory) { return run_directory + "/checkpoints"; }

std::string checkpoint_name(int64_t step) {
  char text[40];
  std::snprintf(text, sizeof(text), "step-%08lld", static_cast<long long>(step));
  return text;
}

std::string partial_name(int64_t step, int64_t generation) { return numbered(step, kPartial, generation); }
std::string void_name(int64_t step, int64_t generation) { return numbered(step, kVoid, generation); }

EntryName parse_entry_name(const std::string& name) {
  using Kind = EntryName::Kind;
  std::string_view rest = name;
  EntryName entry;
  if (rest.starts_with(kGenerationFile)) {
    rest.remove_prefix(kGenerationFile.size());
    entry.generation = take_number(rest).value_or(0);
    if (entry.generation > 0 && name == std::string(kGenerationFile) + std::to_string(entry.generation)) {
      entry.kind = Kind::kGeneration;
    }
    return entry;
  }
  if (!rest.starts_with("step-")) return entry;
  rest.remove_prefix(5);
  const std::optional<int64_t> step = take_number(rest);
  if (!step) return entry;
  entry.step = *step;
  if (name == checkpoint_name(entry.step)) {
    entry.kind = Kind::kCheckpoint;
    return entry;
  }
  const bool partial = rest.starts_with(kPartial);
  if (!partial && !rest.starts_with(kVoid)) return entry;
  rest.remove_prefix(partial ? kPartial.size() : kVoid.size());
  entry.generation = take_number(rest).value_or(0);
  // Only what this program would have written itself is taken for its own.
  if (name == numbered(entry.step, partial ? kPartial : kVoid, entry.generation)) {
    entry.kind = partial ? Kind::kPartial : Kind::kVoid;
  }
  return entry;
}

std::string generation_text(const Generation& generation) {
  const int64_t start = generation.start_step.value();
  return nlohmann::json{{"crc32c", start_crc(generation.number, start)}, {"start_step", start}}.dump() + "\n";
}

const Generation* Survey::find(int64_t number) const {
  for (const Generation& generation : generations) {
    if (generation.number == number) return &generation;
  }
  return nullptr;
}

const Generation* overtaken_by(const std::vector<Generation>& generations, int64_t step, int64_t generation) {
  for (const Generation& later : generations) {
    if (later.number > generation && later.start_step && *later.start_step < step) return &later;
  }
  return nullptr;
}

Survey survey_run(const std::string& run_directory) {
  namespace fs = std::filesystem;
  Survey survey;
  const std::string folder = checkpoints_folder(run_directory);
  std::error_code failure;
  fs::directory_iterator entries(folder, failure);
  if (failure == std::errc::no_such_file_or_directory) return survey;
  for (; !failure && entries != fs::directory_iterator(); entries.increment(failure)) {
    const EntryName entry = parse_entry_name(entries->path().filename().string());
    survey.last_generation = std::max(survey.last_generation, entry.generation);
    if (entry.kind == EntryName::Kind::kCheckpoint) survey.steps.push_back(entry.step);
    if (entry.kind == EntryName::Kind::kPartial || entry.kind == EntryName::Kind::kVoid)
      survey.leftovers.push_back(entry);
    if (entry.kind != EntryName::Kind::kGeneration) continue;
    try {
      survey.generations.push_back(read_generation(entries->path().string(), entry.generation));
    } catch (const Error& error) {
      survey.generations.push_back({entry.generation, std::nullopt});
      survey.damaged.push_back(error.what());
    }
  }
  if (failure) throw Error(ExitCode::kInputOutput, "cannot list " + folder + ": " + failure.message());
  std::sort(survey.generations.begin(), survey.generations.end(),
            [](const Generation& a, const Generation& b) { return a.number < b.number; });
  std::sort(survey.steps.begin(), survey.steps.end(), std::greater<>());

  for (const int64_t step : survey.steps) {
    const std::string path = folder + "/" + checkpoint_name(step);
    try {
      if (fs::is_symlink(path, failure)) throw Error(ExitCode::kData, path + ": a symbolic link");
      Candidate candidate{step, path, read_manifest(Folder(path))};
      survey.last_generation = std::max(survey.last_generation, candidate.manifest.generation);
      if (candidate.manifest.step != step) {
        throw Error(ExitCode::kData, path + ": the manifest is of step " + std::to_string(candidate.manifest.step));
      }
      const Generation* later = overtaken_by(survey.generations, step, candidate.manifest.generation);
      if (later != nullptr) {
        throw Error(ExitCode::kData, path + ": void: written by attempt " +
                                         std::to_string(candidate.manifest.generation) + ", but attempt " +
                                         std::to_string(later->number) + " went on from step " +
                                         std::to_string(*later->start_step));
      }
      survey.candidates.push_back(std::move(candidate));
    } catch (const Error& error) {
      survey.damaged.push_back(error.what());
    }
  }
  return survey;
}

}  // namespace tsugi
