select 1 as price_id, 3 + 4 as amount, upper('eur') as currency, 2 * 2 as level
