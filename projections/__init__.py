"""What we show: read models in SQL, folded from the logs, dropped and rebuilt at will."""
