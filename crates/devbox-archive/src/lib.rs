//! Archive formats as streams of entries; opens no file
