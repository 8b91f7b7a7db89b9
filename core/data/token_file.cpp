#include "core/data/token_file.h"

#include <glog/logging.h>

#include <algorithm>
#include <filesystem>

#include "core/data/file.h"
#include "core/data/hash.h"
#include "core/data/token_part.h"
#include "core/data/token_shards.h"
#include "ops/base/checked.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

namespace fs = std::filesystem;

/// The token files of a folder of shards by other programs. What could be held back for validation is not guessed.
std::vector<std::string> list_shards(const std::string& folder) {
  std::vector<std::string> paths;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    if (entry->path().extension() == ".bin") paths.push_back(entry->path().string());
  }
  if (error) throw Error(ExitCode::kInputOutput, "cannot read " + folder + ": " + error.message());
  if (paths.empty()) throw Error(ExitCode::kData, folder + ": the folder holds no token file (.bin)");
  std::ranges::sort(paths);
  for (const std::string& path : paths) {
    const std::string name = fs::path(path).filename().string();
    if (name.find("val") == std::string::npos && name.find("test") == std::string::npos) continue;
    fail_token_file(folder, "holds " + name + ", which does not look like training data",
                    "name the files by a pattern, such as '" + folder + "/*_train_*.bin'");
  }
  return paths;
}

std::vector<std::string> paths_of(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (fs::is_directory(status)) return list_shards(path);
  if (!fs::exists(status) && is_pattern(path)) return match_paths(path);
  return {path};
}

}  // namespace

struct TokenFile::Impl {
  std::string path;
  std::vector<TokenPart> parts;
  std::vector<int64_t> begins;  ///< first token of every part
  int64_t tokens = 0;
  int64_t vocabulary = 0;
  std::vector<int64_t> documents;
  uint64_t fingerprint = 0;

  explicit Impl(const std::string& name) : path(name) {
    if (name.ends_with(".json")) {
      const ShardIndex index = read_shard_index(name);
      for (const ShardIndex::Shard& shard : index.shards) {
        add(open_token_part(index.path_of(shard)));
        check_shard(index, shard, parts.back());
      }
      fingerprint = hash64(std::as_bytes(std::span(&index.hash, 1)), fingerprint);
      vocabulary = index.vocabulary;
    } else {
      for (const std::string& one : paths_of(name)) add(open_token_part(one));
    }
    if (parts.size() == 1) {
      documents = std::move(parts[0].documents);
      return;
    }
    const bool known = std::ranges::none_of(parts, [](const TokenPart& part) { return part.documents.empty(); });
    for (size_t i = 0; i < parts.size() && known; ++i) {
      for (const int64_t start : parts[i].documents) documents.push_back(begins[i] + start);
      parts[i].documents = {};
    }
  }

  void add(TokenPart part) {
    if (part.vocabulary != 0 && vocabulary != 0 && part.vocabulary != vocabulary) {
      fail_token_file(part.path, "has a vocabulary of " + std::to_string(part.vocabulary) + ", " + parts[0].path +
                                     " one of " + std::to_string(vocabulary));
    }
    if (part.vocabulary != 0) vocabulary = part.vocabulary;
    begins.push_back(tokens);
    tokens = checked_add(tokens, part.tokens, path + ": number of tokens");
    fingerprint =
        parts.empty() ? part.fingerprint : hash64(std::as_bytes(std::span(&part.fingerprint, 1)), fingerprint);
    parts.push_back(std::move(part));
  }
};

TokenFile TokenFile::open(const std::string& path) {
  TokenFile result;
  result.impl_ = std::make_shared<const Impl>(path);
  return result;
}

const std::string& TokenFile::path() const { return impl_->path; }
int64_t TokenFile::tokens() const { return impl_->tokens; }
int64_t TokenFile::vocabulary() const { return impl_->vocabulary; }
std::span<const int64_t> TokenFile::documents() const { return impl_->documents; }
uint64_t TokenFile::fingerprint() const { return impl_->fingerprint; }

void TokenFile::read(int64_t offset, int64_t vocabulary, std::span<int32_t> out) const {
  const auto count = static_cast<int64_t>(out.size());
  CHECK(offset >= 0 && count <= impl_->tokens && offset <= impl_->tokens - count)
      << "tokens [" << offset << ", +" << count << ") of " << impl_->tokens << " in " << impl_->path;
  auto part = static_cast<size_t>(std::ranges::upper_bound(impl_->begins, offset) - impl_->begins.begin()) - 1;
  while (!out.empty()) {
    const int64_t inside = offset - impl_->begins[part];
    const int64_t here = std::min(static_cast<int64_t>(out.size()), impl_->parts[part].tokens - inside);
    impl_->parts[part].read(inside, vocabulary, out.first(static_cast<size_t>(here)));
    out = out.subspan(static_cast<size_t>(here));
    offset += here;
    ++part;
  }
}

}  // namespace tsugi
