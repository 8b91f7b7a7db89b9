#include <glog/logging.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/checkpoint/checkpoint.h"
#include "core/checkpoint/run_directory.h"
#include "core/checkpoint/together.h"
#include "core/data/file.h"

namespace tsugi {
namespace {

/// Every rank verifies its part of the files. "" on all ranks, or the first fault on all ranks.
std::string verify_on_all(Communicator& communicator, const std::string& checkpoint) {
  std::string fault;
  try {
    const Folder folder(checkpoint);
    int64_t index = 0;
    for (const auto& [name, file] : read_manifest(folder).files) {
      if (index++ % communicator.size() == communicator.rank()) verify_file(folder, name, file);
    }
  } catch (const Error& error) {
    fault = error.what();
  }
  for (const std::string& other : communicator.all_gather_strings(fault)) {
    if (!other.empty()) return other;
  }
  return "";
}

/// Goes from the newest checkpoint to older ones until `wanted` are found intact; returns those found. Faults are
/// appended to `damaged` on all ranks. `survey` is rank 0's; the others need none.
std::vector<std::string> newest_intact(Communicator& communicator, const Survey& survey, size_t wanted,
                                       std::vector<std::string>& damaged) {
  std::vector<std::string> intact;
  for (size_t i = 0; intact.size() < wanted; ++i) {
    const std::string path = communicator.broadcast(i < survey.candidates.size() ? survey.candidates[i].path : "");
    if (path.empty()) break;
    const std::string fault = verify_on_all(communicator, path);
    if (fault.empty()) {
      intact.push_back(path);
    } else {
      damaged.push_back(fault);
    }
  }
  return intact;
}

void remove_tree(const std::string& path) {
  std::error_code failure;
  std::filesystem::remove_all(path, failure);  // removes links, never what they point to
  if (failure) throw Error(ExitCode::kInputOutput, "cannot remove " + path + ": " + failure.message());
}

/// Removes what is older than `oldest_kept`, and what earlier attempts left unfinished.
void remove_old(const Survey& survey, const RunLease& lease, std::optional<int64_t> oldest_kept) {
  const std::string folder = checkpoints_folder(lease.directory);
  const auto is_old = [&](int64_t step) { return oldest_kept && step < *oldest_kept; };
  for (const EntryName& entry : survey.leftovers) {
    const bool partial = entry.kind == EntryName::Kind::kPartial;
    if (partial && entry.generation < lease.generation) {
      remove_tree(folder + "/" + partial_name(entry.step, entry.generation));
    }
    if (!partial && is_old(entry.step)) remove_tree(folder + "/" + void_name(entry.step, entry.generation));
  }
  for (const int64_t step : survey.steps) {
    if (!is_old(step)) continue;
    const std::string path = folder + "/" + checkpoint_name(step);
    std::error_code failure;
    if (std::filesystem::is_symlink(path, failure)) continue;  // somebody else put it there
    // Renamed first: killed on the way, it leaves no checkpoint with files missing.
    const std::string aside = folder + "/" + void_name(step, lease.generation);
    if (::rename(path.c_str(), aside.c_str()) != 0) throw file_error("rename " + path + " to", aside);
    remove_tree(aside);
  }
  sync_folder(folder);
}

}  // namespace

std::string find_checkpoint(Communicator& communicator, const std::string& run_directory,
                            std::vector<std::string>& damaged) {
  Survey survey;
  const std::string first = on_rank_0(communicator, [&] {
    survey = survey_run(run_directory);
    return nlohmann::json(survey.damaged).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  });
  for (const nlohmann::json& reason : nlohmann::json::parse(first)) damaged.push_back(reason.get<std::string>());
  const std::vector<std::string> found = newest_intact(communicator, survey, 1, damaged);
  return found.empty() ? "" : found.front();
}

void retain_checkpoints(Communicator& communicator, const RunLease& lease, int keep) {
  CHECK_GE(keep, 0);
  Survey survey;
  const std::string last = on_rank_0(communicator, [&] {
    survey = survey_run(lease.directory);
    return std::to_string(survey.last_generation);
  });
  if (std::stoll(last) > lease.generation) return;  // the run belongs to a later attempt now
  std::vector<std::string> damaged;
  const std::vector<std::string> intact = newest_intact(communicator, survey, static_cast<size_t>(keep), damaged);
  together(communicator, [&] {
    if (communicator.rank() != 0) return;
    for (const std::string& fault : damaged) LOG(WARNING) << "damaged checkpoint: " << fault;
    std::optional<int64_t> oldest_kept;
    if (keep > 0 && intact.size() == static_cast<size_t>(keep)) {
      oldest_kept = parse_entry_name(std::filesystem::path(intact.back()).filename().string()).step;
    }
    remove_old(survey, lease, oldest_kept);
  });
}

void verify_checkpoint(const std::string& checkpoint) {
  const Folder folder(checkpoint);
  for (const auto& [name, file] : read_manifest(folder).files) verify_file(folder, name, file);
}

}  // namespace tsugi
