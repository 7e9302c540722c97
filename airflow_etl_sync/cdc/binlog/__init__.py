"""Changes of MySQL and MariaDB, as their binary log tells them."""
