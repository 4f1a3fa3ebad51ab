"""The commands of `omnisync`, by what they are for."""
