#include "launch/corpus/corpus.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "core/data/file.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

/// A shorter paragraph ("TIP", "For example:") may stand in several places without telling anything.
constexpr size_t kTelling = 40;

using SectionId = std::pair<size_t, size_t>;  // chapter, section

/// A fixed shuffle of the sections: the finalizer of SplitMix64 (Steele, Lea and Flood 2014).
uint64_t shuffle_key(SectionId id) {
  uint64_t z = (static_cast<uint64_t>(id.first) << 32 | id.second) + 0x9E3779B97F4A7C15;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

/// The paragraphs of one section that a task may use.
struct Candidates {
  SectionId id;
  std::vector<std::string> texts;
};

/// The first paragraph of every section, then the second of every section …, at most `limit`.
std::vector<std::string> round_robin(const std::vector<Candidates>& sections, size_t limit) {
  std::vector<std::string> out;
  for (size_t turn = 0; out.size() < limit; ++turn) {
    const size_t before = out.size();
    for (const Candidates& section : sections) {
      if (turn < section.texts.size() && out.size() < limit) out.push_back(section.texts[turn]);
    }
    if (out.size() == before) break;
  }
  return out;
}

struct TaskClass {
  size_t chapter = 0;
  size_t paragraphs = 0;
  std::vector<Candidates> sections;
};

struct LabelledTask {
  std::vector<std::string> labels;
  std::vector<std::vector<std::string>> train;
  std::vector<std::vector<std::string>> validation;
  std::set<SectionId> held_out;
};

std::vector<TaskClass> find_classes(const Book& book, const CorpusOptions& options) {
  std::unordered_map<std::string_view, int> occurrences;
  for (const Chapter& chapter : book.chapters) {
    for (const Section& section : chapter.sections) {
      for (const Paragraph& paragraph : section.paragraphs) ++occurrences[paragraph.text];
    }
  }
  std::vector<TaskClass> classes;
  for (size_t c = 0; c < book.chapters.size(); ++c) {
    TaskClass one{c, 0, {}};
    for (size_t s = 0; s < book.chapters[c].sections.size(); ++s) {
      Candidates candidates{{c, s}, {}};
      for (const Paragraph& paragraph : book.chapters[c].sections[s].paragraphs) {
        const size_t length = count_code_points(paragraph.text);
        const bool fits =
            length >= static_cast<size_t>(options.shortest) && length <= static_cast<size_t>(options.longest);
        if (!paragraph.code && fits && occurrences[paragraph.text] == 1) candidates.texts.push_back(paragraph.text);
      }
      one.paragraphs += candidates.texts.size();
      if (!candidates.texts.empty()) one.sections.push_back(std::move(candidates));
    }
    classes.push_back(std::move(one));
  }
  // More paragraphs than training takes, and a second section to validate on.
  std::erase_if(classes, [&options](const TaskClass& one) {
    return one.paragraphs <= static_cast<size_t>(options.train_per_class) || one.sections.size() < 2;
  });
  std::ranges::stable_sort(classes, std::ranges::greater{}, &TaskClass::paragraphs);
  if (classes.size() > static_cast<size_t>(options.classes)) classes.resize(options.classes);
  std::ranges::sort(classes, {}, &TaskClass::chapter);
  return classes;
}

LabelledTask make_task(const Book& book, const CorpusOptions& options) {
  LabelledTask task;
  const auto train_size = static_cast<size_t>(options.train_per_class);
  const auto validation_size = static_cast<size_t>(options.validation_per_class);
  for (TaskClass& one : find_classes(book, options)) {
    std::ranges::sort(one.sections, {}, [](const Candidates& section) { return shuffle_key(section.id); });
    std::vector<Candidates> train;
    std::vector<Candidates> validation;
    size_t held_out = 0;
    for (Candidates& section : one.sections) {
      const size_t size = section.texts.size();
      // A section is held out while validation wants more and training is left with enough.
      if (held_out < validation_size && one.paragraphs - held_out - size >= train_size) {
        held_out += size;
        validation.push_back(std::move(section));
      } else {
        train.push_back(std::move(section));
      }
    }
    if (validation.empty()) continue;
    for (const Candidates& section : validation) task.held_out.insert(section.id);
    task.labels.push_back(book.chapters[one.chapter].title);
    task.train.push_back(round_robin(train, train_size));
    task.validation.push_back(round_robin(validation, validation_size));
  }
  if (task.labels.size() < 2) {
    throw Error(ExitCode::kData,
                book.language + ": fewer than two chapters have more than " + std::to_string(options.train_per_class) +
                    " paragraphs of " + std::to_string(options.shortest) + " to " + std::to_string(options.longest) +
                    " characters, which the labelled task needs",
                "give the folder with the book's HTML pages, or ask for fewer examples per class");
  }
  return task;
}

std::vector<Example> interleave(const std::vector<std::vector<std::string>>& classes,
                                const std::vector<std::string>& labels) {
  std::vector<Example> out;
  size_t longest = 0;
  for (const auto& texts : classes) longest = std::max(longest, texts.size());
  for (size_t i = 0; i < longest; ++i) {
    for (size_t c = 0; c < classes.size(); ++c) {
      if (i < classes[c].size()) out.push_back({classes[c][i], labels[c]});
    }
  }
  return out;
}

std::string file_name(const Book& book, size_t chapter) {
  const std::string number = std::to_string(chapter + 1);
  return book.language + '.' + (number.size() < 2 ? "0" : "") + number + '-' + book.chapters[chapter].name + ".txt";
}

bool is_validation(size_t chapter, const CorpusOptions& options) {
  return (chapter + 1) % static_cast<size_t>(options.validation_every) == 0;
}

/// Fills a split chapter by chapter, without paragraphs that were `seen` before; code may repeat unless `forbidden`.
class Splitter {
 public:
  Splitter(Corpus& corpus, const std::unordered_set<std::string>& forbidden) : corpus_(corpus), forbidden_(forbidden) {}

  void add(const Chapter& chapter, const std::string& name, const std::vector<bool>& skip,
           std::vector<CorpusFile>& split) {
    CorpusFile file{name, {}};
    for (size_t s = 0; s < chapter.sections.size(); ++s) {
      if (skip[s]) continue;
      Section kept{chapter.sections[s].title, {}};
      for (const Paragraph& paragraph : chapter.sections[s].paragraphs) {
        if (fresh(paragraph)) {
          kept.paragraphs.push_back(paragraph);
        } else {
          ++corpus_.repeated_paragraphs;
        }
      }
      if (!kept.paragraphs.empty()) file.documents.push_back(kept.text());
    }
    if (!file.documents.empty()) split.push_back(std::move(file));
  }

 private:
  bool fresh(const Paragraph& paragraph) {
    if (paragraph.text.size() < kTelling) return true;
    if (forbidden_.contains(paragraph.text)) return false;
    return paragraph.code || seen_.insert(paragraph.text).second;
  }

  Corpus& corpus_;
  const std::unordered_set<std::string>& forbidden_;
  std::unordered_set<std::string> seen_;
};

void remember(const Section& section, std::unordered_set<std::string>& paragraphs) {
  for (const Paragraph& paragraph : section.paragraphs) paragraphs.insert(paragraph.text);
}

}  // namespace

Corpus make_corpus(const std::vector<Book>& books, const CorpusOptions& options) {
  LabelledTask task = make_task(books.at(0), options);
  Corpus corpus;
  corpus.held_out_sections = static_cast<int64_t>(task.held_out.size());

  // Texts that measure something: the task's held-out sections in the first place, then the validation chapters.
  std::unordered_set<std::string> task_paragraphs;
  for (const auto& [chapter, section] : task.held_out) {
    remember(books[0].chapters[chapter].sections[section], task_paragraphs);
  }
  std::unordered_set<std::string> held_out = task_paragraphs;
  for (const Book& book : books) {
    for (size_t c = 0; c < book.chapters.size(); ++c) {
      if (!is_validation(c, options)) continue;
      for (const Section& section : book.chapters[c].sections) remember(section, held_out);
    }
  }

  Splitter train(corpus, held_out);
  Splitter validation(corpus, task_paragraphs);
  for (size_t b = 0; b < books.size(); ++b) {
    for (size_t c = 0; c < books[b].chapters.size(); ++c) {
      const Chapter& chapter = books[b].chapters[c];
      std::vector<bool> skip(chapter.sections.size(), false);
      for (size_t s = 0; s < skip.size(); ++s) skip[s] = b == 0 && task.held_out.contains({c, s});
      if (is_validation(c, options)) {
        validation.add(chapter, file_name(books[b], c), skip, corpus.validation);
      } else {
        train.add(chapter, file_name(books[b], c), skip, corpus.train);
      }
    }
  }
  if (corpus.train.empty() || corpus.validation.empty()) {
    throw Error(ExitCode::kData, books[0].language + ": " + std::to_string(books[0].chapters.size()) +
                                     " chapters are too few to take every " + std::to_string(options.validation_every) +
                                     "th for validation");
  }
  corpus.task_train = interleave(task.train, task.labels);
  corpus.task_validation = interleave(task.validation, task.labels);
  corpus.labels = std::move(task.labels);
  return corpus;
}

void write_corpus(const Corpus& corpus, const std::string& folder) {
  namespace fs = std::filesystem;
  if (fs::exists(folder)) {
    throw Error(ExitCode::kUsage, "--out " + folder + " exists already", "remove it or give another folder");
  }
  const fs::path partial = folder + ".partial";
  std::error_code failure;
  fs::remove_all(partial, failure);
  for (const char* part : {"train", "validation", "task"}) fs::create_directories(partial / part, failure);
  if (failure) throw Error(ExitCode::kInputOutput, "cannot create " + partial.string() + ": " + failure.message());

  const auto write_split = [&partial](const std::vector<CorpusFile>& files, const char* split) {
    for (const CorpusFile& file : files) {
      std::string text;
      for (const std::string& document : file.documents) {
        if (!text.empty()) text += "\f\n";
        text += document;
      }
      write_file_durably(partial / split / file.name, text);
    }
  };
  write_split(corpus.train, "train");
  write_split(corpus.validation, "validation");

  const auto write_task = [&partial](const std::vector<Example>& examples, const char* file) {
    std::string lines;
    for (const Example& example : examples) {
      lines += nlohmann::ordered_json{{"text", example.text}, {"label", example.label}}.dump() + '\n';
    }
    write_file_durably(partial / "task" / file, lines);
  };
  write_task(corpus.task_train, "train.jsonl");
  write_task(corpus.task_validation, "validation.jsonl");
  fs::rename(partial, folder, failure);
  if (failure) throw Error(ExitCode::kInputOutput, "cannot rename " + partial.string() + ": " + failure.message());
}

}  // namespace tsugi
