#include "core/data/prepare/inputs.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "core/data/file.h"
#include "core/data/input_stream.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

namespace fs = std::filesystem;
using Format = PrepareOptions::Format;

Error folder_error(const std::string& path, const std::error_code& error) {
  return Error(ExitCode::kInputOutput, "cannot read " + path + ": " + error.message());
}

bool named_lines(const std::string& path) {
  const fs::path name = without_compression(path);
  return name.extension() == ".jsonl" || name.extension() == ".ndjson";
}
bool named_text(const std::string& path) { return fs::path(without_compression(path)).extension() == ".txt"; }

std::vector<std::string> list_folder(const std::string& folder, Format format) {
  std::vector<std::string> files;
  std::error_code error;
  fs::recursive_directory_iterator entry(folder, error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    std::error_code ignored;  // a link to nowhere is not a regular file
    const std::string path = entry->path().string();
    const bool wanted =
        (format != Format::kLines && named_text(path)) || (format != Format::kText && named_lines(path));
    if (wanted && entry->is_regular_file(ignored)) files.push_back(path);
  }
  if (error) throw folder_error(folder, error);
  if (files.empty()) {
    throw Error(ExitCode::kData,
                folder + ": the folder holds no .txt file and no .jsonl, nor either of them with .gz or .zst");
  }
  std::ranges::sort(files);
  return files;
}

void add(const std::string& path, Format format, std::vector<InputFile>& files) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) {
    throw folder_error(path, error ? error : std::make_error_code(std::errc::no_such_file_or_directory));
  }
  if (fs::is_directory(status)) {
    for (const std::string& file : list_folder(path, format)) add(file, format, files);
    return;
  }
  struct stat facts{};
  if (::stat(path.c_str(), &facts) != 0) throw file_error("stat", path);
  InputFile file;
  file.path = path;
  file.lines = format == Format::kLines || (format == Format::kByName && named_lines(path));
  file.bytes = facts.st_size;
  file.modified = int64_t{facts.st_mtim.tv_sec} * 1'000'000'000 + facts.st_mtim.tv_nsec;
  files.push_back(std::move(file));
}

}  // namespace

std::vector<InputFile> list_inputs(const std::vector<std::string>& inputs, Format format) {
  std::vector<InputFile> files;
  for (const std::string& input : inputs) {
    std::error_code error;
    if (is_pattern(input) && !fs::exists(fs::status(input, error))) {
      for (const std::string& path : match_paths(input)) add(path, format, files);
    } else {
      add(input, format, files);
    }
  }
  return files;
}

}  // namespace tsugi
