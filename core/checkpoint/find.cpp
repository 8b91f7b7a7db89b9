#include <glog/logging.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/checkpoint/checkpoint.h"
#include "core/checkpoint/run_directory.h"
#include "core/data/file.h"

namespace tsugi {
namespace {

/// This rank's part of a checkpoint's files: "" or the first fault.
std::string verify_part(const std::string& checkpoint, int rank, int ranks) {
  try {
    const Folder folder(checkpoint);
    int64_t index = 0;
    for (const auto& [name, file] : read_manifest(folder).files) {
      if (index++ % ranks == rank) verify_file(folder, name, file);
    }
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

/// Goes from the newest checkpoint to older ones until `wanted` are found intact, every rank verifying its part of the
/// files.
struct Search {
  std::string directory;
  size_t wanted = 0;
  Survey survey;  ///< rank 0's; the others need none
  std::vector<std::string> intact;
  std::vector<std::string> faults;  ///< of those passed over

  /// The stages that look; afterwards, all ranks know `intact` and `faults`. Collective, as part of Stage::then.
  static void add_next(const std::shared_ptr<Search>& search, StagedWork& work, Communicator& communicator) {
    const size_t seen = search->intact.size() + search->faults.size();
    const std::vector<Candidate>& candidates = search->survey.candidates;
    const bool more = search->intact.size() < search->wanted && seen < candidates.size();
    const std::string path = communicator.broadcast(more ? candidates[seen].path : "");
    if (path.empty()) return;
    const auto fault = std::make_shared<std::string>();
    work.add_next({[fault, path, rank = communicator.rank(), ranks = communicator.size()] {
                     *fault = verify_part(path, rank, ranks);
                   },
                   [fault, path, search, &work](Communicator& all) {
                     const std::vector<std::string> said = all.all_gather_strings(*fault);
                     const auto first =
                         std::find_if(said.begin(), said.end(), [](const std::string& one) { return !one.empty(); });
                     if (first == said.end()) {
                       search->intact.push_back(path);
                     } else {
                       search->faults.push_back(*first);
                     }
                     add_next(search, work, all);
                   }});
  }
};

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
  const auto search = std::make_shared<Search>();
  search->wanted = 1;
  StagedWork work;
  work.add(
      {[search, run_directory, root = communicator.rank() == 0] {
         if (root) search->survey = survey_run(run_directory);
       },
       [search, &work, &damaged](Communicator& all) {
         const std::string reasons = all.broadcast(
             nlohmann::json(search->survey.damaged).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
         for (const nlohmann::json& reason : nlohmann::json::parse(reasons))
           damaged.push_back(reason.get<std::string>());
         Search::add_next(search, work, all);
       }});
  work.run(communicator);
  damaged.insert(damaged.end(), search->faults.begin(), search->faults.end());
  return search->intact.empty() ? "" : search->intact.front();
}

void add_retention(StagedWork& work, const Communicator& communicator, const RunLease& lease, int keep) {
  CHECK_GE(keep, 0);
  const bool root = communicator.rank() == 0;
  const auto search = std::make_shared<Search>();
  search->wanted = static_cast<size_t>(keep);
  const auto remove = [search, lease, keep, root] {
    if (!root) return;
    for (const std::string& fault : search->faults) LOG(WARNING) << "damaged checkpoint: " << fault;
    std::optional<int64_t> oldest_kept;
    if (keep > 0 && search->intact.size() == static_cast<size_t>(keep)) {
      oldest_kept = parse_entry_name(std::filesystem::path(search->intact.back()).filename().string()).step;
    }
    remove_old(search->survey, lease, oldest_kept);
  };
  work.add({[search, lease, root] {
              if (root) search->survey = survey_run(lease.directory);
            },
            [search, lease, &work, remove](Communicator& all) {
              const std::string last = all.broadcast(std::to_string(search->survey.last_generation));
              if (std::stoll(last) > lease.generation) return;  // the run belongs to a later attempt now
              work.add_next({remove});
              Search::add_next(search, work, all);
            }});
}

void retain_checkpoints(Communicator& communicator, const RunLease& lease, int keep) {
  StagedWork work;
  add_retention(work, communicator, lease, keep);
  work.run(communicator);
}

void verify_checkpoint(const std::string& checkpoint) {
  const Folder folder(checkpoint);
  for (const auto& [name, file] : read_manifest(folder).files) verify_file(folder, name, file);
}

}  // namespace tsugi
