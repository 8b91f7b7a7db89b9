// Tables that are read on a page and computed with in a CSV file.
#pragma once

#include <string>
#include <vector>

namespace tsugi {

/// Numbers are shown with four digits and kept with all of theirs; what is not finite is empty.
struct Cell {
  Cell(double value);      // NOLINT(google-explicit-constructor): rows are written as lists
  Cell(std::string text);  // NOLINT(google-explicit-constructor)
  Cell(const char* text);  // NOLINT(google-explicit-constructor)
  Cell(double value, std::string shown_as);

  std::string shown;
  std::string exact;
  bool is_number = false;
};

class DataTable {
 public:
  explicit DataTable(std::vector<std::string> header) : header_(std::move(header)) {}
  /// As many cells as the header has.
  void add(std::vector<Cell> cells);
  bool empty() const { return rows_.empty(); }

  std::string html() const;
  /// RFC 4180.
  std::string csv() const;

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<Cell>> rows_;
};

}  // namespace tsugi
